"""What a model's family declares that may be cut out of it; refused where it declares nothing."""

from __future__ import annotations

from sixgig.errors import UsageError
from sixgig.families import DenseCuts, ExpertCuts, families
from sixgig.modelfile import ModelFile

_SOFTMAX = 1  # llama.cpp's LLAMA_EXPERT_GATING_FUNC_TYPE_SOFTMAX


def can_be_cut(model: ModelFile) -> bool:
    """Whether anything is known about pruning it."""
    return (model.family.expert_cuts if model.n_experts else model.family.dense_cuts) is not None


def dense_cuts(model: ModelFile) -> DenseCuts:
    """What may be cut out of a model without experts; UsageError names the families that are known."""
    if model.n_experts or model.family.dense_cuts is None:
        raise _unknown(model)
    return model.family.dense_cuts


def expert_cuts(model: ModelFile) -> ExpertCuts:
    """How the experts may change; UsageError where there are none, or names the families that are known."""
    if not model.n_experts:
        raise UsageError(
            f"{model.name} has no experts to prune", model.architecture, "prune its widths instead"
        )
    if model.family.expert_cuts is None:
        raise _unknown(model)
    return model.family.expert_cuts


def gates_are_softmax(model: ModelFile) -> bool:
    """Whether gates are a softmax over all experts."""
    gating = model.metadata.integer(f"{model.architecture}.expert_gating_func")
    return gating == _SOFTMAX if gating else expert_cuts(model).softmax


def gates_shift(model: ModelFile) -> bool:
    """Whether the gates of experts that stay grow when others go: a softmax over all, never renormalised.

    Elsewhere a token that would not have chosen a dropped expert is computed as before.
    """
    declared = expert_cuts(model).renormalises
    norm = model.metadata.get(f"{model.architecture}.expert_weights_norm")
    return gates_are_softmax(model) and not (bool(norm) if declared is None else declared)


def _unknown(model: ModelFile) -> UsageError:
    kind, known = (
        ("mixtures", {name for name, one in families().items() if one.expert_cuts})
        if model.n_experts
        else ("dense models", {name for name, one in families().items() if one.dense_cuts})
    )
    return UsageError(
        f"what may be cut out of {model.architecture} is not declared",
        f"{kind} that can be: {', '.join(sorted(known))}",
        "shrink it with --no-prune",
    )
