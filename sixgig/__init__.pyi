"""What `import sixgig` offers: read by type checkers, and by Python, which imports a name when it is used."""

from .errors import (
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
from .inference import Generation
from .inference.request import PagingOptions
from .jobs.answers import Answer
from .jobs.dialogue import Dialogue
from .jobs.doctor import DoctorRequest, DoctorResult, doctor
from .jobs.model import Model
from .jobs.plan import PlanRequest, PlanResult, plan
from .jobs.reporter import Reporter
from .jobs.run import LoadRequest, load
from .jobs.score import ScoreRequest, ScoreResult, score
from .jobs.serve import Server, serve
from .jobs.serve_request import ServeRequest
from .jobs.shrink import ShrinkRequest, ShrinkResult, shrink
from .jobs.tune import TuneRequest, TuneResult, tune
from .jobs.work import ModelStats

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

__version__: str
