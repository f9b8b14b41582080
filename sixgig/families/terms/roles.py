"""What tensors of a model are for, by the engine's own vocabulary of names.

Source: llama.cpp's llama-arch.cpp, which names the tensors of all its architectures from one list.
"""

from collections.abc import Mapping
from enum import StrEnum
from re import ASCII, Pattern, compile


class Role(StrEnum):
    """What a tensor does. Only three-dimensional expert weights are ROUTED_EXPERT; their biases are OTHER.

    INDEXER: what chooses the positions that sparse attention looks at.
    PROJECTION: a matrix beside the blocks: of embeddings per layer, token prediction, poolers, classifiers.
    OTHER: what the graph adds, scales by, chooses by or looks positions up in, and what nobody knows.
    """

    EMBEDDING = "embedding"
    HEAD = "head"
    NORM = "norm"
    ATTENTION = "attention"
    INDEXER = "indexer"
    LINEAR_ATTENTION = "linear_attention"
    CONVOLUTION = "convolution"
    ROUTER = "router"
    ROUTED_EXPERT = "routed_expert"
    SHARED_EXPERT = "shared_expert"
    FEED_FORWARD = "feed_forward"
    PROJECTION = "projection"
    OTHER = "other"


def _compiled(*rows: tuple[str, Role]) -> tuple[tuple[Pattern[str], Role], ...]:
    return tuple((compile(pattern, ASCII), role) for pattern, role in rows)


_LAYER = compile(r"blk\.(0|[1-9][0-9]{0,5})\.(.+)", ASCII)
_STACK = compile(r"(?:enc|dec)\.blk\.(?:0|[1-9][0-9]{0,5})\.(.+)", ASCII)  # of an encoder and its decoder
_KIND = compile(r"(.+?)(?:\.(weight|bias))?", ASCII)
# The first that a stem matches as a whole; what the graph reads otherwise than as a matrix comes before the
# groups whose names would take it for one (LLM_TENSOR_INFOS says by which operation each is read).
_OUTSIDE = _compiled(
    (r"token_embd|per_layer_token_embd", Role.EMBEDDING),
    (r"output", Role.HEAD),
    (r"((enc|dec)\.)?output_norm|token_embd_norm", Role.NORM),
    (r"cls(\.output)?|dense_[23]|fc|nextn\.(pre|post)_projection", Role.PROJECTION),
    (r"convnext\.\d+\.pw[12]", Role.FEED_FORWARD),
)
_INSIDE = _compiled(
    (r"ffn_(gate|up|down|gate_up)_exps", Role.ROUTED_EXPERT),
    (r"ffn_(gate|up|down)_(shexp|chexps)|ffn_gate_inp_shexp", Role.SHARED_EXPERT),
    (r"ffn_gate_inp|exp_probs_b(_vl)?", Role.ROUTER),
    (r"ssm_conv1d\w*|shortconv\.conv|ple_conv1d", Role.CONVOLUTION),
    (r"(?!nextn\.)[\w.]*norm\w*", Role.NORM),
    (r"time_mix_(?!(key|value|receptance|gate|output)$)\w+|channel_mix_lerp_\w+", Role.OTHER),
    (r"(cross_)?attn_rel_b|attn_(res_score|conv_base|v_gate)|\w+_ape", Role.OTHER),
    (r"ssm_\w+|shortconv\.\w+|time_mix_\w+", Role.LINEAR_ATTENTION),
    (r"(cross_|vis_)?attn_\w+", Role.ATTENTION),
    (r"indexer[\w.]+", Role.INDEXER),
    (r"(ffn|vis)_(gate|up|down)|ffn_(latent|routed)_(up|down)|channel_mix_\w+", Role.FEED_FORWARD),
    (r"inp_gate|proj|ple_(key|value)|nextn\.(eh_proj|shared_head_head)", Role.PROJECTION),
    (r"nextn\.embed_tokens", Role.EMBEDDING),
)


def role_and_layer(name: str, own: Mapping[str, Role]) -> tuple[Role, int | None]:
    """The role of a tensor and its layer (None outside the layers); OTHER for what the vocabulary lacks.

    own: by stem ("attn_qkv" of "blk.0.attn_qkv.weight"), what an architecture means by it instead.
    """
    if match := _LAYER.fullmatch(name):
        return _inside(match[2], own), int(match[1])
    if match := _STACK.fullmatch(name):
        return _inside(match[1], own), None
    return _first(_OUTSIDE, _split(name)[0]), None


def _inside(rest: str, own: Mapping[str, Role]) -> Role:
    stem, kind = _split(rest)
    role = own.get(stem) or _first(_INSIDE, stem)
    if not kind and role not in (Role.LINEAR_ATTENTION, Role.ATTENTION):
        return Role.OTHER
    return Role.OTHER if role is Role.ROUTED_EXPERT and kind != "weight" else role


def _first(rows: tuple[tuple[Pattern[str], Role], ...], stem: str) -> Role:
    return next((role for known, role in rows if known.fullmatch(stem)), Role.OTHER)


def _split(name: str) -> tuple[str, str]:
    """Stem, and "weight", "bias" or nothing."""
    match = _KIND.fullmatch(name)
    return (match[1], match[2] or "") if match else (name, "")
