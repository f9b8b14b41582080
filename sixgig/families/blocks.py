"""Groups of tensor rules that families are put together from.

Source: the names llama.cpp creates per architecture; a fused and a split form stand side by side where
converters have written both.
"""

from sixgig.families.family import Role, TensorRule


def _layer(role: Role, *stems: str) -> tuple[TensorRule, ...]:
    """Rules for the weight and the bias of each stem inside a layer."""
    return tuple(
        TensorRule(f"blk.{{layer}}.{stem}.{kind}", role) for stem in stems for kind in ("weight", "bias")
    )


OUTSIDE_LAYERS = (
    TensorRule("token_embd.weight", Role.EMBEDDING),
    TensorRule("output.weight", Role.HEAD),
    TensorRule("output.bias", Role.HEAD),
    TensorRule("output_norm.weight", Role.NORM),
    TensorRule("output_norm.bias", Role.NORM),
)
NORMS = _layer(
    Role.NORM, "attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm"
)
ATTENTION = _layer(Role.ATTENTION, "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output")
SINKS = _layer(Role.ATTENTION, "attn_sinks")
LATENT_ATTENTION = (
    *_layer(Role.ATTENTION, "attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_kv_b", "attn_k_b", "attn_v_b"),
    *_layer(Role.NORM, "attn_q_a_norm", "attn_kv_a_norm"),
)
FEED_FORWARD = _layer(Role.FEED_FORWARD, "ffn_gate", "ffn_up", "ffn_down")
SHARED_EXPERT = _layer(
    Role.SHARED_EXPERT, "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp", "ffn_gate_inp_shexp"
)
ROUTED_EXPERTS = (
    *_layer(Role.ROUTER, "ffn_gate_inp", "exp_probs_b"),
    *(
        TensorRule(f"blk.{{layer}}.{stem}.weight", Role.ROUTED_EXPERT)
        for stem in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps")
    ),
)
# In a hybrid attn_qkv and attn_gate belong to the delta net; its full layers have attn_q, attn_k, attn_v.
DELTA_NET = (
    TensorRule("blk.{layer}.ssm_a", Role.LINEAR_ATTENTION),
    *_layer(
        Role.LINEAR_ATTENTION,
        "attn_qkv",
        "attn_gate",
        "ssm_in",
        "ssm_dt",
        "ssm_norm",
        "ssm_out",
    ),
    *_layer(Role.LINEAR_ATTENTION, "ssm_ba", "ssm_alpha", "ssm_beta"),
    *_layer(Role.CONVOLUTION, "ssm_conv1d"),
)
SHORT_CONVOLUTION = (
    *_layer(Role.LINEAR_ATTENTION, "shortconv.in_proj", "shortconv.out_proj"),
    *_layer(Role.CONVOLUTION, "shortconv.conv"),
)

DENSE = (*OUTSIDE_LAYERS, *NORMS, *ATTENTION, *FEED_FORWARD)
MIXTURE = (*DENSE, *ROUTED_EXPERTS, *SHARED_EXPERT)

POST_ATTENTION_NORM = "blk.{layer}.post_attention_norm.weight"
SELECTION_BIAS = "blk.{layer}.exp_probs_b.bias"
ROUTER_BIAS = "blk.{layer}.ffn_gate_inp.bias"
