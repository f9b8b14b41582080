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
from .evaluate.score import Divergence
from .hardware import Machine
from .inference import Generation
from .inference.request import PagingOptions
from .jobs.answers import Answer
from .jobs.candidates import Candidate
from .jobs.dialogue import Dialogue, Thinking
from .jobs.doctor import DoctorRequest, DoctorResult, doctor
from .jobs.findings import Finding
from .jobs.model import Message, Model, Sampling
from .jobs.plan import PlanRequest, PlanResult, plan
from .jobs.reporter import Reporter
from .jobs.run import LoadRequest, load
from .jobs.score import ScoreRequest, ScoreResult, score
from .jobs.serve import Server, serve
from .jobs.serve_request import ServeRequest
from .jobs.shrink import ShrinkRequest, ShrinkResult, shrink
from .jobs.tune import TuneRequest, TuneResult, tune
from .jobs.work import ModelStats
from .ledger.database import LedgerError
from .pager.pager import CachePolicy
from .planning import MemoryPlan

__all__ = [
    "Answer",
    "BudgetError",
    "CachePolicy",
    "Cancelled",
    "Candidate",
    "Dialogue",
    "DivergedError",
    "Divergence",
    "DoctorRequest",
    "DoctorResult",
    "EngineError",
    "EngineLostError",
    "Finding",
    "Generation",
    "LedgerError",
    "LoadRequest",
    "Machine",
    "MemoryPlan",
    "Message",
    "Model",
    "ModelFileError",
    "ModelStats",
    "PagingOptions",
    "PlanRequest",
    "PlanResult",
    "PurposeError",
    "ReadError",
    "Reporter",
    "Sampling",
    "ScoreRequest",
    "ScoreResult",
    "ServeRequest",
    "Server",
    "ServingError",
    "ShrinkRequest",
    "ShrinkResult",
    "SixgigError",
    "Thinking",
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
