"""Groups of rules and keys that recipes are put together from."""

from sixgig.families.terms.attention_window import context_length
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys, Rule
from sixgig.families.terms.rotary import Takes, rotary_keys
from sixgig.families.terms.transforms import (
    AS_IS,
    EACH_EXPERT,
    ROTARY_K,
    ROTARY_Q,
    Transform,
    Unit,
    half,
)

_USED = ("num_experts_per_tok", "moe_k", "moe_topk")
LAYER = "model.layers.{layer}."


def weight(source: str, target: str, transform: Transform = AS_IS) -> tuple[Rule, ...]:
    """A layer's tensor with ".weight" on both sides."""
    return (Rule(f"{LAYER}{source}.weight", f"blk.{{layer}}.{target}.weight", transform),)


def linear(source: str, target: str, transform: Transform = AS_IS) -> tuple[Rule, ...]:
    """A layer's weight, and its bias where there is one."""
    bias = Rule(f"{LAYER}{source}.bias", f"blk.{{layer}}.{target}.bias", transform)
    return (*weight(source, target, transform), bias)


def outside(
    norm: Transform = AS_IS, final: str = "norm", final_target: str = "output_norm"
) -> tuple[Rule, ...]:
    """Embedding, final norm, head."""
    return (
        Rule("model.embed_tokens.weight", "token_embd.weight"),
        Rule(f"model.{final}.weight", f"{final_target}.weight", norm),
        Rule("lm_head.weight", "output.weight"),
    )


def headless(norm: Transform = AS_IS) -> tuple[Rule, ...]:
    """Embedding and final norm, where llama.cpp's graph always has the embedding for its head."""
    return outside(norm)[:-1]


def norms(norm: Transform = AS_IS, second: str = "ffn_norm") -> tuple[Rule, ...]:
    """The norms before attention and before the feed-forward part."""
    return (
        *weight("input_layernorm", "attn_norm", norm),
        *weight("post_attention_layernorm", second, norm),
    )


def attention(q: Transform = AS_IS, k: Transform = AS_IS, output: str = "o_proj") -> tuple[Rule, ...]:
    """Queries, keys, values, output."""
    return (
        *linear("self_attn.q_proj", "attn_q", q),
        *linear("self_attn.k_proj", "attn_k", k),
        *linear("self_attn.v_proj", "attn_v"),
        *linear(f"self_attn.{output}", "attn_output"),
    )


def head_norms(norm: Transform = AS_IS, q: str = "q_norm", k: str = "k_norm") -> tuple[Rule, ...]:
    """Norms of queries and keys."""
    return (
        *weight(f"self_attn.{q}", "attn_q_norm", norm),
        *weight(f"self_attn.{k}", "attn_k_norm", norm),
    )


def feed_forward(source: str = "mlp", suffix: str = "") -> tuple[Rule, ...]:
    """Gate, up and down; `suffix` "_shexp" for a shared expert."""
    return tuple(
        rule
        for name in ("gate", "up", "down")
        for rule in linear(f"{source}.{name}_proj", f"ffn_{name}{suffix}")
    )


def experts(
    source: str = "mlp.experts", names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
) -> tuple[Rule, ...]:
    """Routed experts one by one; `names` of gate, up and down."""
    return tuple(
        rule
        for name, stem in zip(names, ("gate", "up", "down"), strict=True)
        for rule in weight(f"{source}.{{expert}}.{name}", f"ffn_{stem}_exps")
    )


def fused_experts(
    source: str = "mlp.experts", up: str = "gate_up_proj", down: str = "down_proj"
) -> tuple[Rule, ...]:
    """Routed experts in one tensor (experts, outputs, inputs), gate above up."""
    names = (
        ("gate", up, half(0, Unit.EXPERT)),
        ("up", up, half(1, Unit.EXPERT)),
        ("down", down, EACH_EXPERT),
    )
    return tuple(
        Rule(f"{LAYER}{source}.{name}", f"blk.{{layer}}.ffn_{stem}_exps.weight", transform)
        for stem, name, transform in names
    )


def router(source: str = "mlp.gate") -> tuple[Rule, ...]:
    """The router."""
    return linear(source, "ffn_gate_inp")


ROTARY_ATTENTION = attention(ROTARY_Q, ROTARY_K)
MIXTURE = (*router(), *experts(), *fused_experts())
GATED_SHARED_EXPERT = (
    *feed_forward("mlp.shared_expert", "_shexp"),
    *weight("mlp.shared_expert_gate", "ffn_gate_inp_shexp"),
)


def selection_bias(source: str = "mlp.gate.e_score_correction_bias") -> tuple[Rule, ...]:
    """What is added to the gates for choosing only."""
    return (Rule(f"{LAYER}{source}", "blk.{layer}.exp_probs_b.bias"),)


def common_keys(
    config: Config, theta: float | None = None, *, takes: Takes = Takes.KEYS, slides: bool = False
) -> Keys:
    """What every architecture says; `theta` and `takes` as of rotary_keys.

    `slides`: the architecture has a window of its own, which the caller sees to.
    """
    length = config.integer("max_position_embeddings")
    keys: Keys = {
        "block_count": config.n_layers,
        "context_length": length if slides else context_length(config, length),
        "embedding_length": config.integer("hidden_size"),
        "attention.head_count": config.n_heads,
        "attention.head_count_kv": config.n_kv_heads,
    }
    if config.has("layer_norm_eps"):
        keys["attention.layer_norm_epsilon"] = config.number("layer_norm_eps")
    else:
        keys["attention.layer_norm_rms_epsilon"] = config.number("rms_norm_eps", "norm_eps")
    if config.has("intermediate_size"):
        keys["feed_forward_length"] = config.integer("intermediate_size")
    if config.has("head_dim"):
        keys |= {"attention.key_length": config.head_width, "attention.value_length": config.head_width}
    rotary = rotary_keys(config, theta, takes)
    return keys | expert_counts(config) | rotary


def expert_counts(config: Config) -> Keys:
    """Experts and how many a token uses; nothing for a dense model."""
    if not config.n_experts:
        return {}
    return {"expert_count": config.n_experts, "expert_used_count": config.integer(*_USED)}


def expert_widths(config: Config) -> Keys:
    """Hidden widths of routed and of shared experts where they have names of their own."""
    named = {
        "expert_feed_forward_length": "moe_intermediate_size",
        "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    }
    return {key: config.integer(name) for key, name in named.items() if config.has(name)}


SIGMOID_GATE: Keys = {"expert_gating_func": 2}  # llama.cpp's LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID


def shared_mixture_keys(config: Config) -> Keys:
    """Leading dense layers, shared experts, groups and scale of the routed ones, in DeepSeek's names."""
    keys: Keys = {
        "leading_dense_block_count": config.integer("first_k_dense_replace", default=0),
        "expert_shared_count": config.integer("n_shared_experts", default=0),
        "expert_feed_forward_length": config.integer("moe_intermediate_size"),
        "expert_weights_scale": config.number("routed_scaling_factor", default=1.0),
        "expert_weights_norm": config.flag("norm_topk_prob", default=False),
    }
    n_groups, n_used = config.integer("n_group", default=0), config.integer("topk_group", default=0)
    if n_groups > 1:
        keys |= {"expert_group_count": n_groups, "expert_group_used_count": n_used}
    return keys
