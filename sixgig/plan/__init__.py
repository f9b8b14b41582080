"""From facts about machine and model to decisions on memory and time. Pure: reads nothing, starts nothing."""

from sixgig.plan.allowance import Allowance, allowance
from sixgig.plan.anatomy import Anatomy, anatomy
from sixgig.plan.budget import Budgets, MemoryPlan, Mode, Needs, Refusal, default_budget, fit, smallest_budget
from sixgig.plan.hits import PUBLISHED, HitCurve
from sixgig.plan.learning import Lesson, Record, basis_of, lesson, process_bytes
from sixgig.plan.needs import (
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
from sixgig.plan.placement import Placement
from sixgig.plan.planner import EngineFigures, Plan, Planner, usable_gpu
from sixgig.plan.prediction import Predictor, Speed
from sixgig.plan.quality import expected_kld
from sixgig.plan.task import Task
from sixgig.plan.uses import Need, Tier, Use
from sixgig.plan.work import WorkPlan, plan_work

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
