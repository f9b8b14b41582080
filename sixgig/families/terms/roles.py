"""What tensors of a model are for, by the engine's own vocabulary of names.

Source: llama.cpp's llama-arch.cpp, which names the tensors of all its architectures from one list.
"""

from collections.abc import Mapping
from enum import StrEnum
from re import ASCII, compile


class Role(StrEnum):
    """What a tensor does. Only three-dimensional expert weights are ROUTED_EXPERT; their biases are OTHER."""

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    ATTENTION = "attention"
    LINEAR_ATTENTION = "linear_attention"
    CONVOLUTION = "convolution"
    ROUTER = "router"
    ROUTED_EXPERT = "routed_expert"
    SHARED_EXPERT = "shared_expert"
    FEED_FORWARD = "feed_forward"
    OTHER = "other"


_LAYER = compile(r"blk\.(0|[1-9][0-9]{0,5})\.(.+)", ASCII)
_STACK = compile(r"(?:enc|dec)\.blk\.(?:0|[1-9][0-9]{0,5})\.(.+)", ASCII)  # of an encoder and its decoder
_KIND = compile(r"(.+?)(?:\.(weight|bias))?", ASCII)
_OUTSIDE = {
    "token_embd": Role.EMBEDDING,
    "per_layer_token_embd": Role.EMBEDDING,
    "output": Role.HEAD,
    "output_norm": Role.NORM,
    "enc.output_norm": Role.NORM,
    "dec.output_norm": Role.NORM,
    "token_embd_norm": Role.NORM,
}
# The first that a stem matches as a whole.
_INSIDE = tuple(
    (compile(pattern), role)
    for pattern, role in (
        (r"ffn_(gate|up|down|gate_up)_exps", Role.ROUTED_EXPERT),
        (r"ffn_(gate|up|down)_(shexp|chexps)|ffn_gate_inp_shexp", Role.SHARED_EXPERT),
        (r"ffn_gate_inp|exp_probs_b(_vl)?", Role.ROUTER),
        (r"ssm_conv1d\w*|shortconv\.conv", Role.CONVOLUTION),
        (r"ssm_\w+|shortconv\.\w+|time_mix_\w+", Role.LINEAR_ATTENTION),
        (r"(?!nextn\.)[\w.]*norm\w*", Role.NORM),
        (r"(cross_)?attn_\w+|indexer[\w.]+", Role.ATTENTION),
        (r"ffn_(gate|up|down)|ffn_(latent|routed)_(up|down)|channel_mix_\w+", Role.FEED_FORWARD),
    )
)


def role_and_layer(name: str, own: Mapping[str, Role]) -> tuple[Role, int | None]:
    """The role of a tensor and its layer (None outside the layers); OTHER for what the vocabulary lacks.

    own: by stem ("attn_qkv" of "blk.0.attn_qkv.weight"), what an architecture means by it instead.
    """
    if match := _LAYER.fullmatch(name):
        return _inside(match[2], own), int(match[1])
    if match := _STACK.fullmatch(name):
        return _inside(match[1], own), None
    return _OUTSIDE.get(_split(name)[0], Role.OTHER), None


def _inside(rest: str, own: Mapping[str, Role]) -> Role:
    stem, kind = _split(rest)
    role = own.get(stem) or next((role for known, role in _INSIDE if known.fullmatch(stem)), Role.OTHER)
    if not kind and role not in (Role.LINEAR_ATTENTION, Role.ATTENTION):
        return Role.OTHER
    return Role.OTHER if role is Role.ROUTED_EXPERT and kind != "weight" else role


def _split(name: str) -> tuple[str, str]:
    """Stem, and "weight", "bias" or nothing."""
    match = _KIND.fullmatch(name)
    return (match[1], match[2] or "") if match else (name, "")
