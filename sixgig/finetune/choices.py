"""What may be chosen for a run of tuning, and the defaults: known without PyTorch."""

from __future__ import annotations

from enum import StrEnum

from sixgig.families import Role

# While gradients agree AdamW moves a weight by the whole rate, Muon by UPDATE_RMS of it: hence five times.
LEARNING_RATES = {"adamw": 2e-4, "muon": 1e-3}
# A step moves every weight of A, drawn within 1 / sqrt(n_in), by about the rate: at 1 nothing of it is left.
LEAST_RATE, MOST_RATE = 1e-12, 1.0


class Part(StrEnum):
    """What may be adapted. The router never is: training it costs quality (OLMoE's ablation, FACTS)."""

    ATTENTION = "attention"
    DENSE = "dense"
    SHARED = "shared"
    EXPERTS = "experts"


ROLES = {
    Part.ATTENTION: (Role.ATTENTION, Role.LINEAR_ATTENTION),
    Part.DENSE: (Role.FEED_FORWARD,),
    Part.SHARED: (Role.SHARED_EXPERT,),
    Part.EXPERTS: (Role.ROUTED_EXPERT,),
}
DEFAULT_PARTS = (Part.ATTENTION, Part.DENSE, Part.SHARED)
