"""A mixture's header grown until paging means something: 16 experts of which 3 are used, quantised.

The generator's mixtures have 2 experts of which 2 are used, in F32. What hangs on the number of experts is
grown with it; experts' widths become one block of K-quants; groups and hash layers are put to use.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from bench.architectures.description import Description, Fact, NamedTensor
from sixgig.modelfile import TYPE_BY_NAME

N_EXPERTS, N_USED, WIDTH = 16, 3, 256
N_GROUPS, N_GROUPS_USED, CHUNK = 4, 2, 2
NARROW = {"Q4_K": "Q5_0"}  # for rows that are no whole blocks, as llama-quantize falls back
# Where the layer that predicts is made as the last one; in six more (Bailing 2 and 3, Dots 3, EXAONE, GLM-5
# next, Qwen4) it is made otherwise.
PREDICTING = (
    "cohere2moe",
    "deepseek2",
    "deepseek32",
    "deepseek4",
    "glm-dsa",
    "glm4moe",
    "hy_v3",
    "mimo2",
    "qwen35moe",
    "qwen3next",
)
_STACK = re.compile(r"ffn_(gate|up|down|gate_up)_exps\.weight")
_PER_EXPERT = re.compile(
    r"ffn_(gate|up|down|gate_up)_exps\.\w+|ffn_gate_inp\.(weight|bias)|exp_probs_b(_vl)?(\.bias)?"
)
_SELECTION_BIAS = "exp_probs_b.bias"
_WIDTHS = ("feed_forward_length", "expert_feed_forward_length", "expert_latent_length")


def is_mixture(description: Description) -> bool:
    """Whether it has routed experts; a file may announce some that it does not have."""
    return any(_STACK.fullmatch(tensor.stem) for tensor in description.tensors)


def expand(description: Description, kind: str) -> Description:
    """The same architecture with N_EXPERTS experts, their stacks stored as `kind`."""
    before = int(description.get("expert_count"))
    down = next(t for t in description.tensors if t.stem == "ffn_down_exps.weight")
    tensors = [
        _narrowed(_counted(tensor, before), down.shape[0])
        for tensor in description.tensors
        if not _replaced_by_table(description, tensor)
    ]
    notes: list[str] = []
    stored = [_stored(tensor, kind, notes) for tensor in tensors]
    if _hashes(description):
        n_vocab = int(description.get("vocab_size"))
        stored.append(NamedTensor("blk.0.ffn_gate_tid2eid.weight", "I32", (N_USED, n_vocab)))
    facts = _facts(description, down.shape[0])
    return Description(facts, tuple(stored), tuple(dict.fromkeys(notes)))


def _counted(tensor: NamedTensor, before: int) -> NamedTensor:
    if _PER_EXPERT.fullmatch(tensor.stem) and tensor.shape[-1] == before:
        return replace(tensor, shape=(*tensor.shape[:-1], N_EXPERTS))
    if "_chexps." in tensor.stem:
        return replace(tensor, shape=(*tensor.shape[:-1], N_EXPERTS // CHUNK))
    return tensor


def _narrowed(tensor: NamedTensor, width: int) -> NamedTensor:
    """All feed-forward parts that are as wide as an expert: the header has one number for several."""
    if not tensor.stem.startswith("ffn_"):
        return tensor
    widths = {width: WIDTH} | ({2 * width: 2 * WIDTH} if "gate_up" in tensor.stem else {})
    return replace(tensor, shape=tuple(widths.get(n, n) for n in tensor.shape))


def _stored(tensor: NamedTensor, kind: str, notes: list[str]) -> NamedTensor:
    if not _STACK.fullmatch(tensor.stem):
        return tensor
    if tensor.shape[0] % TYPE_BY_NAME[kind].block_elements:
        notes.append(f"{tensor.stem.split('.')[0]} {NARROW[kind]} (rows of {tensor.shape[0]})")
        kind = NARROW[kind]
    return replace(tensor, type=kind)


def _facts(description: Description, width: int) -> dict[str, Fact]:
    changes: dict[str, Any] = {"expert_count": N_EXPERTS, "expert_used_count": N_USED}
    for key in _WIDTHS:
        lengths = description.get(key)
        if isinstance(lengths, list):
            changes[key] = [WIDTH if length == width else length for length in lengths]
        elif lengths == width:
            changes[key] = WIDTH
    if any(tensor.stem == _SELECTION_BIAS for tensor in description.tensors):
        changes |= {"expert_group_count": N_GROUPS, "expert_group_used_count": N_GROUPS_USED}
    if any("_chexps." in tensor.stem for tensor in description.tensors):
        changes["experts_per_group"] = CHUNK
    if _hashes(description):
        changes["hash_layer_count"] = 1
    facts = dict(description.metadata)
    for name, value in changes.items():
        key = f"{description.architecture}.{name}"
        if isinstance(facts.get(key, ("", 0))[1], list) and not isinstance(value, list):
            value = [value] * len(facts[key][1])
        facts[key] = (facts.get(key, ("UINT32", 0))[0], value)
    return facts


def _hashes(description: Description) -> bool:
    """Whether the architecture knows layers that look experts up by token id; the first becomes one."""
    return description.architecture == "deepseek4"


def _replaced_by_table(description: Description, tensor: NamedTensor) -> bool:
    return _hashes(description) and tensor.name == f"blk.0.{_SELECTION_BIAS}"


def with_prediction(description: Description) -> Description | None:
    """The same with one more layer that predicts a token ahead, which the engine does not run; None where the
    architecture knows none. It is made as the last layer is."""
    if description.architecture not in PREDICTING:
        return None
    n_layers, width = int(description.get("block_count")), int(description.get("embedding_length"))
    last, more = f"blk.{n_layers - 1}.", f"blk.{n_layers}."
    copied = [
        replace(tensor, name=more + tensor.stem)
        for tensor in description.tensors
        if tensor.name.startswith(last) and not tensor.name.endswith("scale")
    ]
    own = [NamedTensor(f"{more}nextn.{stem}.weight", "F32", (width,)) for stem in ("enorm", "hnorm")]
    own.append(NamedTensor(f"{more}nextn.eh_proj.weight", "F32", (2 * width, width)))
    facts = {
        key: (kind, [*value, value[-1]])
        if isinstance(value, list) and len(value) == n_layers
        else (kind, value)
        for key, (kind, value) in description.metadata.items()
    }
    for name, value in (("block_count", n_layers + 1), ("nextn_predict_layers", 1)):
        facts[f"{description.architecture}.{name}"] = ("UINT32", value)
    return Description(facts, (*description.tensors, *copied, *own), description.notes)
