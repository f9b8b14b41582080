"""Small headers of families that have no tiny model: `write("glm4moe", path)`, for the engine to be asked.

What llama.cpp's loader wants of each, and no more: the parts that decide what a context takes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.described import write_description

WIDTH, N_HEADS, N_KV_HEADS, HEAD, HIDDEN, N_EXPERTS, EXPERT, N_VOCAB = 256, 4, 2, 64, 512, 8, 128, 1024
Q, KV = N_HEADS * HEAD, N_KV_HEADS * HEAD
Tensor = dict[str, Any]


def write(family: str, path: Path, **metadata: Any) -> Path:
    """The family's model at `path`; metadata replace its own, by name without the architecture."""
    keys, tensors = FAMILIES[family]()
    changed = {f"ARCH.{name}": value for name, value in metadata.items()}
    description = {
        "architecture": family,
        "routed": "Q4_0",
        "dense": "Q8_0",
        "metadata": _COMMON | {key: value for key, value in keys.items() if key != _TIED} | changed,
        "tensors": _OUTSIDE[: 1 if _TIED in keys else 2] + tensors,
    }
    return write_description(description, family, path)


_COMMON: dict[str, Any] = {
    "tokenizer.ggml.model": "none",
    "ARCH.block_count": 5,
    "ARCH.context_length": 32768,
    "ARCH.embedding_length": WIDTH,
    "ARCH.feed_forward_length": HIDDEN,
    "ARCH.attention.head_count": N_HEADS,
    "ARCH.attention.head_count_kv": N_KV_HEADS,
    "ARCH.attention.key_length": HEAD,
    "ARCH.attention.value_length": HEAD,
    "ARCH.attention.layer_norm_rms_epsilon": 1e-6,
    "ARCH.rope.dimension_count": HEAD,
    "ARCH.rope.freq_base": 10000.0,
    "ARCH.expert_count": N_EXPERTS,
    "ARCH.expert_used_count": 2,
    "ARCH.expert_feed_forward_length": EXPERT,
    "ARCH.vocab_size": N_VOCAB,
}
_OUTSIDE: list[Tensor] = [
    {"name": "token_embd.weight", "shape": [WIDTH, N_VOCAB], "type": "dense"},
    {"name": "output.weight", "shape": [WIDTH, N_VOCAB], "type": "dense"},
]


def _tensor(stem: str, *shape: int, layers: str = "all", kind: str = "") -> Tensor:
    kind = kind or ("dense" if len(shape) > 1 else "F32")
    name = stem if "." in stem and not stem.startswith("shortconv") else f"{stem}.weight"
    return {"name": f"blk.{{layer}}.{name}", "shape": list(shape), "type": kind, "layers": layers}


def _norm(stem: str, width: int = WIDTH, layers: str = "all") -> Tensor:
    return _tensor(stem, width, layers=layers)


def _attention(layers: str = "all", q_rows: int = 1, kv: int = KV) -> list[Tensor]:
    return [
        _tensor("attn_q", WIDTH, q_rows * Q, layers=layers),
        _tensor("attn_k", WIDTH, kv, layers=layers),
        _tensor("attn_v", WIDTH, kv, layers=layers),
        _tensor("attn_output", Q, WIDTH, layers=layers),
    ]


def _head_norms(layers: str = "all") -> list[Tensor]:
    return [_norm("attn_q_norm", HEAD, layers), _norm("attn_k_norm", HEAD, layers)]


def _dense(layers: str) -> list[Tensor]:
    gate, up = (_tensor(f"ffn_{name}", WIDTH, HIDDEN, layers=layers) for name in ("gate", "up"))
    return [gate, up, _tensor("ffn_down", HIDDEN, WIDTH, layers=layers)]


def _experts(layers: str = "all") -> list[Tensor]:
    router = _tensor("ffn_gate_inp", WIDTH, N_EXPERTS, layers=layers, kind="F32")
    down = _tensor("ffn_down_exps", EXPERT, WIDTH, N_EXPERTS, layers=layers, kind="routed")
    inner = [
        _tensor(f"ffn_{name}_exps", WIDTH, EXPERT, N_EXPERTS, layers=layers, kind="routed")
        for name in ("gate", "up")
    ]
    return [router, *inner, down]


def _shared(width: int = EXPERT, layers: str = "all") -> list[Tensor]:
    gate, up = (_tensor(f"ffn_{name}_shexp", WIDTH, width, layers=layers) for name in ("gate", "up"))
    return [gate, up, _tensor("ffn_down_shexp", width, WIDTH, layers=layers)]


def _selection_bias(layers: str = "all") -> Tensor:
    return _tensor("exp_probs_b.bias", N_EXPERTS, layers=layers, kind="F32")


def _prediction(*more: str) -> list[Tensor]:
    """The last layer predicts a token ahead, and does not run."""
    norms = [_norm(stem, layers="only 4") for stem in ("nextn.enorm.weight", "nextn.hnorm.weight", *more)]
    return [_tensor("nextn.eh_proj.weight", 2 * WIDTH, WIDTH, layers="only 4"), *norms]


_TIED = "tied"  # no key of the file: there is no head beside the embedding
_FINAL: Tensor = {"name": "output_norm.weight", "shape": [WIDTH], "type": "F32"}
_NORMS = [_norm("attn_norm"), _norm("ffn_norm"), _FINAL]
_LEAD = {"ARCH.leading_dense_block_count": 1}
_NO_EXPERTS = {"ARCH.expert_count": 0, "ARCH.expert_used_count": 0}
_UNGROUPED = {"ARCH.attention.head_count_kv": N_HEADS}
Parts = tuple[dict[str, Any], list[Tensor]]


def _llama4() -> Parts:
    """Every other layer routed; layer 3 attends to everything."""
    routed = [*_experts("1 mod 2"), *_shared(layers="1 mod 2")]
    keys = {"ARCH.interleave_moe_layer_step": 2, "ARCH.expert_used_count": 1}
    return keys, [*_NORMS, *_attention(), *_dense("not 1 mod 2"), *routed]


def _lfm2moe() -> Parts:
    """Layers without key-value heads are short convolutions."""
    keys = _LEAD | {
        "ARCH.attention.head_count_kv": [0, N_KV_HEADS, 0, 0, N_KV_HEADS],
        "ARCH.shortconv.l_cache": 3,
        "ARCH.expert_gating_func": 2,
    }
    attends = [part for n in (1, 4) for part in (*_attention(f"only {n}"), *_head_norms(f"only {n}"))]
    convolves = [
        part
        for n in (0, 2, 3)
        for part in (
            _tensor("shortconv.conv", 3, WIDTH, layers=f"only {n}", kind="F32"),
            _tensor("shortconv.in_proj", WIDTH, 3 * WIDTH, layers=f"only {n}"),
            _tensor("shortconv.out_proj", WIDTH, WIDTH, layers=f"only {n}"),
        )
    ]
    for part in convolves:
        part["name"] = part["name"].removesuffix(".weight") + ".weight"
    norm = {"name": "token_embd_norm.weight", "shape": [WIDTH], "type": "F32"}
    layers = [_norm("attn_norm"), _norm("ffn_norm"), *_dense("only 0"), *_experts("from 1")]
    return keys, [norm, *layers, _selection_bias("from 1"), *attends, *convolves]


def _glm4moe() -> Parts:
    keys = _LEAD | {"ARCH.expert_shared_count": 1, "ARCH.nextn_predict_layers": 1}
    norms = [_norm("attn_norm"), _norm("post_attention_norm"), _FINAL]
    routed = [*_experts("from 1"), *_shared(layers="from 1"), _selection_bias("from 1")]
    return keys, [*norms, *_attention(), *_dense("only 0"), *routed, *_prediction()]


def _ernie() -> Parts:
    keys = _LEAD | {
        "ARCH.interleave_moe_layer_step": 1,
        "ARCH.expert_shared_count": 1,
        "ARCH.expert_shared_feed_forward_length": EXPERT,
    }
    routed = [*_experts("from 1"), *_shared(layers="from 1")]
    return keys, [*_NORMS, *_attention(), *_dense("only 0"), *routed]


def _dots1() -> Parts:
    """As many key-value heads as heads."""
    keys = _LEAD | _UNGROUPED | {"ARCH.expert_shared_count": 1, "ARCH.expert_gating_func": 2}
    routed = [*_experts("from 1"), *_shared(layers="from 1"), _selection_bias("from 1")]
    return keys, [*_NORMS, *_attention(kv=Q), *_head_norms(), *_dense("only 0"), *routed]


def _bailingmoe2() -> Parts:
    """Queries, keys and values fused."""
    keys = _LEAD | {
        "ARCH.expert_shared_count": 1,
        "ARCH.expert_gating_func": 2,
        "ARCH.nextn_predict_layers": 1,
    }
    fused = [_tensor("attn_qkv", WIDTH, WIDTH + 2 * KV), _tensor("attn_output", Q, WIDTH)]
    routed = [*_experts("from 1"), *_shared(layers="from 1"), _selection_bias("from 1")]
    parts = [*_NORMS, *fused, *_head_norms(), *_dense("only 0"), *routed]
    return keys, [*parts, *_prediction("layer_output_norm")]


def _granitemoe() -> Parts:
    keys = {"ARCH.logit_scale": 1.0, "ARCH.feed_forward_length": EXPERT}
    return keys, [*_NORMS, *_attention(), *_experts()]


def _hunyuan() -> Parts:
    """Experts' width is the feed-forward length."""
    keys = {"ARCH.feed_forward_length": EXPERT, "ARCH.expert_shared_feed_forward_length": EXPERT}
    return keys, [*_NORMS, *_attention(), *_head_norms(), *_experts(), *_shared()]


def _qwen2moe() -> Parts:
    keys = {"ARCH.expert_shared_feed_forward_length": HIDDEN}
    shared = [*_shared(HIDDEN), _norm("ffn_gate_inp_shexp")]
    return keys, [*_NORMS, *_attention(), *_experts(), *shared]


def _olmoe() -> Parts:
    """Norms over all heads together; experts' width is the feed-forward length."""
    norms = [_norm("attn_q_norm", Q), _norm("attn_k_norm", Q)]
    keys = _UNGROUPED | {"ARCH.feed_forward_length": EXPERT}
    return keys, [*_NORMS, *_attention(kv=Q), *norms, *_experts()]


def _minimax() -> Parts:
    norms = [_norm("attn_q_norm", Q), _norm("attn_k_norm", KV)]
    keys = {"ARCH.feed_forward_length": EXPERT, "ARCH.expert_gating_func": 2}
    return keys, [*_NORMS, *_attention(), *norms, *_experts(), _selection_bias()]


def _qwen3next() -> Parts:
    """Every fourth layer attends, with a gate in its queries; the others are Gated DeltaNet."""
    keys = {
        "ARCH.expert_shared_feed_forward_length": EXPERT,
        "ARCH.ssm.conv_kernel": 4,
        "ARCH.ssm.state_size": 32,
        "ARCH.ssm.group_count": 4,
        "ARCH.ssm.time_step_rank": 8,
        "ARCH.ssm.inner_size": 256,
    }
    recurrent = "not 3 mod 4"
    delta_net = [
        _tensor("attn_qkv", WIDTH, 512, layers=recurrent),
        _tensor("attn_gate", WIDTH, 256, layers=recurrent),
        _tensor("ssm_conv1d", 4, 512, layers=recurrent, kind="F32"),
        _tensor("ssm_dt.bias", 8, layers=recurrent),
        _tensor("ssm_ba", WIDTH, 16, layers=recurrent),
        _norm("ssm_norm", 32, recurrent),
        _tensor("ssm_out", 256, WIDTH, layers=recurrent),
        {"name": "blk.{layer}.ssm_a", "shape": [8], "type": "F32", "layers": recurrent},
    ]
    norms = [_norm("attn_norm"), _norm("post_attention_norm"), _FINAL]
    attends = [*_attention("3 mod 4", q_rows=2), *_head_norms("3 mod 4")]
    shared = [*_shared(), _norm("ffn_gate_inp_shexp")]
    return keys, [*norms, *attends, *delta_net, *_experts(), *shared]


def _qwen2() -> Parts:
    """Dense, with biases on queries, keys and values."""
    biases = [_tensor(f"attn_{name}.bias", width) for name, width in (("q", Q), ("k", KV), ("v", KV))]
    return _NO_EXPERTS, [*_NORMS, *_attention(), *biases, *_dense("all")]


def _qwen35() -> Parts:
    """Qwen3-Next's layers, dense, with the small projections apart."""
    keys, parts = _qwen3next()
    kept = [part for part in parts if "exps" not in part["name"] and "shexp" not in part["name"]]
    recurrent = "not 3 mod 4"
    small = [_tensor(name, WIDTH, 8, layers=recurrent) for name in ("ssm_alpha", "ssm_beta")]
    delta_net = [part for part in kept if "ssm_ba" not in part["name"] and "ffn_gate_inp" not in part["name"]]
    sections = {"ARCH.rope.dimension_sections": [11, 11, 10, 0]}
    return keys | sections | _NO_EXPERTS, [*delta_net, *small, *_dense("all")]


def _deepseek() -> Parts:
    """As many key-value heads as heads; shared experts counted in experts' widths."""
    keys = _LEAD | _UNGROUPED | {"ARCH.expert_shared_count": 1, "ARCH.expert_weights_scale": 1.0}
    routed = [*_experts("from 1"), *_shared(layers="from 1")]
    return keys, [*_NORMS, *_attention(kv=Q), *_dense("only 0"), *routed]


def _qwen3vlmoe() -> Parts:
    keys = {"ARCH.rope.dimension_sections": [11, 11, 10, 0], "ARCH.n_deepstack_layers": 0}
    return keys, [*_NORMS, *_attention(), *_head_norms(), *_experts()]


def _gemma3() -> Parts:
    """Four norms a layer; all of five slide: of six the last would not."""
    norms = [_norm(stem) for stem in ("post_attention_norm", "post_ffw_norm")]
    keys = _NO_EXPERTS | {"ARCH.attention.sliding_window": 512}
    return keys, [*_NORMS, *norms, *_attention(), *_head_norms(), *_dense("all")]


def _mistral3() -> Parts:
    keys = {"ARCH.attention.temperature_scale": 0.1, "ARCH.rope.scaling.original_context_length": 16384}
    return _NO_EXPERTS | keys, [*_NORMS, *_attention(), *_dense("all")]


def _phi3() -> Parts:
    """Queries, keys and values fused, gate and up fused; the window that the file names is none."""
    up, down = _tensor("ffn_up", WIDTH, 2 * HIDDEN), _tensor("ffn_down", HIDDEN, WIDTH)
    fused = [_tensor("attn_qkv", WIDTH, Q + 2 * KV), _tensor("attn_output", Q, WIDTH)]
    return _NO_EXPERTS | {"ARCH.attention.sliding_window": 2047}, [*_NORMS, *fused, up, down]


def _seed_oss() -> Parts:
    """Dense, with biases on queries, keys and values, its second norm named after attention."""
    keys, parts = _qwen2()
    return keys, [_norm("post_attention_norm") if "ffn_norm" in part["name"] else part for part in parts]


def _granite() -> Parts:
    """Dense, its logits divided by a scale."""
    return _NO_EXPERTS | {"ARCH.logit_scale": 1.0}, [*_NORMS, *_attention(), *_dense("all")]


def _gemma2() -> Parts:
    """As Gemma 3 without norms of heads, every other layer sliding, its head the embedding."""
    norms = [_norm(stem) for stem in ("post_attention_norm", "post_ffw_norm")]
    return _NO_EXPERTS | {_TIED: True}, [*_NORMS, *norms, *_attention(), *_dense("all")]


def _smollm3() -> Parts:
    return _NO_EXPERTS, [*_NORMS, *_attention(), *_dense("all")]


def _olmo2() -> Parts:
    """Norms behind each part only, and over all heads together."""
    norms = [_norm("post_attention_norm"), _norm("post_ffw_norm"), _norm("attn_q_norm", Q)]
    keys = _NO_EXPERTS | {"ARCH.attention.sliding_window": 512}
    return keys, [*norms, _norm("attn_k_norm", KV), _FINAL, *_attention(), *_dense("all")]


def _glm4() -> Parts:
    """Gate and up fused."""
    norms = [_norm(stem) for stem in ("post_attention_norm", "post_ffw_norm")]
    up, down = _tensor("ffn_up", WIDTH, 2 * HIDDEN), _tensor("ffn_down", HIDDEN, WIDTH)
    return _NO_EXPERTS, [*_NORMS, *norms, *_attention(), up, down]


def _cohere2() -> Parts:
    """One norm a layer, its head the embedding."""
    keys = {
        _TIED: True,
        "ARCH.attention.sliding_window": 512,
        "ARCH.attention.layer_norm_epsilon": 1e-5,
        "ARCH.logit_scale": 0.25,
    }
    return _NO_EXPERTS | keys, [_norm("attn_norm"), _FINAL, *_attention(), *_dense("all")]


def _mistral4() -> Parts:
    """Latent attention; every layer routed, one shared expert."""
    rank, rotary, rest = 64, 32, HEAD - 32
    keys = {
        "ARCH.attention.head_count_kv": 1,
        "ARCH.attention.key_length": rank + rotary,
        "ARCH.attention.value_length": rank,
        "ARCH.attention.key_length_mla": HEAD,
        "ARCH.attention.value_length_mla": HEAD,
        "ARCH.attention.kv_lora_rank": rank,
        "ARCH.attention.q_lora_rank": 96,
        "ARCH.rope.dimension_count": rotary,
        "ARCH.leading_dense_block_count": 0,
        "ARCH.expert_shared_count": 1,
        "ARCH.expert_weights_norm": True,
        "ARCH.expert_gating_func": 1,
    }
    attends = [
        _tensor("attn_q_a", WIDTH, 96),
        _norm("attn_q_a_norm", 96),
        _tensor("attn_q_b", 96, Q),
        _tensor("attn_kv_a_mqa", WIDTH, rank + rotary),
        _norm("attn_kv_a_norm", rank),
        _tensor("attn_k_b", rest, rank, N_HEADS),
        _tensor("attn_v_b", rank, HEAD, N_HEADS),
        _tensor("attn_output", Q, WIDTH),
    ]
    return keys, [*_NORMS, *attends, *_experts(), *_shared()]


FAMILIES: dict[str, Callable[[], Parts]] = {
    "llama4": _llama4,
    "lfm2moe": _lfm2moe,
    "glm4moe": _glm4moe,
    "ernie4_5-moe": _ernie,
    "dots1": _dots1,
    "bailingmoe2": _bailingmoe2,
    "granitemoe": _granitemoe,
    "hunyuan-moe": _hunyuan,
    "qwen2moe": _qwen2moe,
    "olmoe": _olmoe,
    "minimax-m2": _minimax,
    "qwen3next": _qwen3next,
    "qwen2": _qwen2,
    "qwen35": _qwen35,
    "granite": _granite,
    "seed_oss": _seed_oss,
    "deepseek": _deepseek,
    "qwen3vlmoe": _qwen3vlmoe,
    "gemma3": _gemma3,
    "mistral3": _mistral3,
    "phi3": _phi3,
    "gemma2": _gemma2,
    "smollm3": _smollm3,
    "olmo2": _olmo2,
    "glm4": _glm4,
    "cohere2": _cohere2,
    "mistral4": _mistral4,
}
DENSE = tuple(name for name, parts in FAMILIES.items() if parts()[0].get("ARCH.expert_count") == 0)
