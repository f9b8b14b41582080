"""Run, shrink and fine-tune frontier-size open-weight models in the memory a person has.

Each function is one job; its arguments are the fields of its request, sizes in bytes. docs/python.md is the
manual.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sixgig.errors import (
        BudgetError,
        Cancelled,
        DivergedError,
        EngineError,
        EngineLostError,
        ModelFileError,
        PurposeError,
        ReadError,
        ServingError,
        SixgigError,
        TrainingError,
        UsageError,
    )
    from sixgig.inference import Generation
    from sixgig.inference.request import PagingOptions
    from sixgig.jobs.answers import Answer
    from sixgig.jobs.doctor import DoctorRequest, DoctorResult, doctor
    from sixgig.jobs.model import Dialogue, Model
    from sixgig.jobs.plan import PlanRequest, PlanResult, plan
    from sixgig.jobs.reporter import Reporter
    from sixgig.jobs.run import LoadRequest, load
    from sixgig.jobs.score import ScoreRequest, ScoreResult, score
    from sixgig.jobs.serve import Server, serve
    from sixgig.jobs.serve_request import ServeRequest
    from sixgig.jobs.shrink import ShrinkRequest, ShrinkResult, shrink
    from sixgig.jobs.tune import TuneRequest, TuneResult, tune
    from sixgig.jobs.work import ModelStats

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "BudgetError",
    "Cancelled",
    "Dialogue",
    "DivergedError",
    "DoctorRequest",
    "DoctorResult",
    "EngineError",
    "EngineLostError",
    "Generation",
    "LoadRequest",
    "Model",
    "ModelFileError",
    "ModelStats",
    "PagingOptions",
    "PlanRequest",
    "PlanResult",
    "PurposeError",
    "ReadError",
    "Reporter",
    "ScoreRequest",
    "ScoreResult",
    "ServeRequest",
    "Server",
    "ServingError",
    "ShrinkRequest",
    "ShrinkResult",
    "SixgigError",
    "TrainingError",
    "TuneRequest",
    "TuneResult",
    "UsageError",
    "doctor",
    "load",
    "plan",
    "score",
    "serve",
    "shrink",
    "tune",
]

_NAMES = {  # what each module below gives
    "errors": "BudgetError Cancelled DivergedError EngineError EngineLostError ModelFileError PurposeError "
    "ReadError ServingError SixgigError TrainingError UsageError",
    "inference": "Generation",
    "inference.request": "PagingOptions",
    "jobs.answers": "Answer",
    "jobs.doctor": "DoctorRequest DoctorResult doctor",
    "jobs.model": "Dialogue Model",
    "jobs.plan": "PlanRequest PlanResult plan",
    "jobs.reporter": "Reporter",
    "jobs.run": "LoadRequest load",
    "jobs.score": "ScoreRequest ScoreResult score",
    "jobs.serve": "Server serve",
    "jobs.serve_request": "ServeRequest",
    "jobs.shrink": "ShrinkRequest ShrinkResult shrink",
    "jobs.tune": "TuneRequest TuneResult tune",
    "jobs.work": "ModelStats",
}
_MODULES = {name: f"sixgig.{module}" for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module 'sixgig' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """What is offered, and what is here anyway."""
    return sorted({*globals(), *_MODULES})


class _Package(ModuleType):
    """`sixgig.plan` is the function: Python's import would put the room of that name, `sixgig/plan/`, in its
    place. (The room is reached by `from sixgig.plan import ...` alone.)"""

    @property
    def plan(self) -> Any:
        """As any other name."""
        return __getattr__("plan")

    @plan.setter
    def plan(self, room: ModuleType) -> None:
        """Not heeded."""


sys.modules[__name__].__class__ = _Package
