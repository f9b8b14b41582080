"""From facts about machine and model to decisions on memory and time. Pure: reads nothing, starts nothing."""

from sixgig.planning.allowance import Allowance, allowance
from sixgig.planning.anatomy import Anatomy, anatomy
from sixgig.planning.budget import (
    Budgets,
    MemoryPlan,
    Mode,
    Needs,
    Refusal,
    default_budget,
    fit,
    smallest_budget,
)
from sixgig.planning.hits import PUBLISHED, HitCurve
from sixgig.planning.learning import Lesson, Record, basis_of, lesson, process_bytes
from sixgig.planning.needs import (
    GPU_CONTEXT_BYTES,
    MEASURED,
    AdapterBytes,
    EngineBytes,
    ModelNeeds,
    ProcessBytes,
    bookkeeping_bytes,
    estimated_engine,
    estimated_process,
    header_engine,
    table_bytes,
)
from sixgig.planning.placement import Placement
from sixgig.planning.planner import EngineFigures, Plan, Planner, usable_gpu
from sixgig.planning.prediction import Predictor, Speed
from sixgig.planning.quality import expected_kld
from sixgig.planning.task import Task
from sixgig.planning.uses import Need, Tier, Use
from sixgig.planning.work import WorkPlan, plan_work

__all__ = [
    "GPU_CONTEXT_BYTES",
    "MEASURED",
    "PUBLISHED",
    "AdapterBytes",
    "Allowance",
    "Anatomy",
    "Budgets",
    "EngineBytes",
    "EngineFigures",
    "HitCurve",
    "Lesson",
    "MemoryPlan",
    "Mode",
    "ModelNeeds",
    "Need",
    "Needs",
    "Placement",
    "Plan",
    "Planner",
    "Predictor",
    "ProcessBytes",
    "Record",
    "Refusal",
    "Speed",
    "Task",
    "Tier",
    "Use",
    "WorkPlan",
    "allowance",
    "anatomy",
    "basis_of",
    "bookkeeping_bytes",
    "default_budget",
    "estimated_engine",
    "estimated_process",
    "expected_kld",
    "fit",
    "header_engine",
    "lesson",
    "plan_work",
    "process_bytes",
    "smallest_budget",
    "table_bytes",
    "usable_gpu",
]
