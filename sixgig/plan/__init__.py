"""From facts about machine and model to decisions about memory. Pure: reads nothing, starts nothing."""

from sixgig.plan.budget import MemoryPlan, Needs, Tier, default_budget, plan_memory, smallest_budget

__all__ = ["MemoryPlan", "Needs", "Tier", "default_budget", "plan_memory", "smallest_budget"]
