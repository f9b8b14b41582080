"""The tiny models that conversion is checked on, by transformers' classes and configurations."""

from __future__ import annotations

from typing import Any

VOCABULARY = 320
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL_EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
HYBRID = {
    "head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "shared_expert_intermediate_size": 48,
}
PARTLY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
HUNYUAN = {"moe_intermediate_size": [96] * 4, "num_shared_expert": [1] * 4}
GRANITE = {
    "attention_multiplier": 0.2,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
    "intermediate_size": 32,
}
LATENT = {
    "kv_lora_rank": 32,
    "q_lora_rank": 48,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.5,
}
LLAMA4 = {
    "num_local_experts": 8,
    "num_experts_per_tok": 1,
    "head_dim": 32,
    "intermediate_size": 32,
    "intermediate_size_mlp": 96,
    "interleave_moe_layer_step": 2,
    "rope_parameters": PLAIN,
}
_TEXT_KEYS = {**EXPERTS, "moe_intermediate_size": 48, "head_dim": 32, "norm_topk_prob": True}
_SECTIONS = {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
# Keys "text_config" and "vision_config" are put over COMMON's in the text half.
VISION = {
    "text_config": _TEXT_KEYS | {"rope_parameters": PLAIN | _SECTIONS},
    "vision_config": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 64,
        "deepstack_visual_indexes": [0],
    },
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "long_factor": [1.0 + 0.7 * pair for pair in range(8)],
    "short_factor": [1.0 + 0.1 * pair for pair in range(8)],
    "original_max_position_embeddings": 128,
}
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "tie_word_embeddings": True, "sliding_window": 16}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
MINISTRAL_ROPE = YARN | {
    "original_max_position_embeddings": 16,
    "beta_fast": 16.0,
    "beta_slow": 2.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
MISTRAL4_ROPE = MINISTRAL_ROPE | {"beta_fast": 32.0, "beta_slow": 1.0}
_SIGLIP = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
# Name of the case: transformers' model class, and what its configuration has beside COMMON.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {}),
    "llama-tied-biased": ("LlamaForCausalLM", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama3": ("LlamaForCausalLM", {"rope_parameters": LLAMA3_ROPE, "head_dim": 32}),
    "llama-yarn": ("LlamaForCausalLM", {"rope_parameters": YARN}),
    "llama-linear": (
        "LlamaForCausalLM",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "llama-biased": ("LlamaForCausalLM", {"attention_bias": True, "mlp_bias": True}),
    "llama-yarn-factors": (
        "LlamaForCausalLM",
        {
            "rope_parameters": YARN
            | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.3, "truncate": False}
        },
    ),
    "llama-yarn-scales": (
        "LlamaForCausalLM",
        {"rope_parameters": YARN | {"mscale": 2.0, "mscale_all_dim": 0.5}},
    ),
    "llama-dynamic": (
        "LlamaForCausalLM",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "llama-sentencepiece": ("LlamaForCausalLM", {"vocab_size": 420}),
    "llama-longrope": (
        "LlamaForCausalLM",
        {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 32, "factor": 4.0}},
    ),
    "llama-longrope-short": (
        "LlamaForCausalLM",
        {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 512}},
    ),
    "mistral": ("MistralForCausalLM", {"sliding_window": None}),
    "mistral-window": ("MistralForCausalLM", {"sliding_window": 32}),
    "mixtral": ("MixtralForCausalLM", LOCAL_EXPERTS),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen2-yarn": ("Qwen2ForCausalLM", {"rope_parameters": YARN | {"attention_factor": 1.3}}),
    "qwen2-window": (
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2},
    ),
    "qwen2-yarn-scales": (
        "Qwen2ForCausalLM",
        {"rope_parameters": YARN | {"mscale": 2.0, "mscale_all_dim": 0.5}},
    ),
    "qwen2moe": ("Qwen2MoeForCausalLM", {**EXPERTS, "shared_expert_intermediate_size": 48}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32}),
    "qwen3-tied": ("Qwen3ForCausalLM", {"head_dim": 32, "tie_word_embeddings": True}),
    "seed_oss": ("SeedOssForCausalLM", {"head_dim": 32}),
    "seed_oss-tied-yarn": (
        "SeedOssForCausalLM",
        {"tie_word_embeddings": True, "attention_bias": False, "rope_parameters": YARN, "head_dim": 32},
    ),
    "qwen3moe": ("Qwen3MoeForCausalLM", {**EXPERTS, "head_dim": 32, "norm_topk_prob": True}),
    "qwen3next": (
        "Qwen3NextForCausalLM",
        {**EXPERTS, **HYBRID, "rope_parameters": PARTLY, "norm_topk_prob": True},
    ),
    "qwen35": ("Qwen3_5ForCausalLM", {**HYBRID, "rope_parameters": PARTLY}),
    "qwen35moe": ("Qwen3_5MoeForCausalLM", {**EXPERTS, **HYBRID, "rope_parameters": PARTLY}),
    "olmoe": (
        "OlmoeForCausalLM",
        {"num_experts": 8, "num_experts_per_tok": 2, "num_key_value_heads": 4},
    ),
    "granitemoe": ("GraniteMoeForCausalLM", {**LOCAL_EXPERTS, **GRANITE}),
    "granitemoe-shared": (
        "GraniteMoeSharedForCausalLM",
        {**LOCAL_EXPERTS, **GRANITE, "shared_intermediate_size": 48},
    ),
    "granitemoe-llama3": (
        "GraniteMoeForCausalLM",
        {**LOCAL_EXPERTS, **GRANITE, "rope_parameters": LLAMA3_ROPE, "head_dim": 32, "hidden_size": 128},
    ),
    "gpt-oss": (
        "GptOssForCausalLM",
        {**LOCAL_EXPERTS, "head_dim": 32, "sliding_window": 16, "rope_parameters": PLAIN},
    ),
    "gpt-oss-yarn": (
        "GptOssForCausalLM",
        {
            **LOCAL_EXPERTS,
            "head_dim": 32,
            "sliding_window": 16,
            "rope_parameters": YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True},
        },
    ),
    "deepseek-v2-lite": (
        "DeepseekV2ForCausalLM",
        {**ROUTED, **LATENT, "q_lora_rank": None, "num_hidden_layers": 26, "rope_parameters": PLAIN},
    ),
    "deepseek-v2": ("DeepseekV2ForCausalLM", {**ROUTED, **LATENT, "rope_parameters": PLAIN}),
    "deepseek-v2-yarn": (
        "DeepseekV2ForCausalLM",
        {**ROUTED, **LATENT, "rope_parameters": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}},
    ),
    "deepseek-v3": (
        "DeepseekV3ForCausalLM",
        {**ROUTED, **LATENT, "n_group": 4, "topk_group": 2, "norm_topk_prob": True, "rope_parameters": PLAIN},
    ),
    "deepseek-v3-yarn": (
        "DeepseekV3ForCausalLM",
        {
            **ROUTED,
            **LATENT,
            "n_group": 4,
            "topk_group": 2,
            "norm_topk_prob": True,
            "rope_parameters": YARN
            | {"mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32.0, "beta_slow": 1.0},
        },
    ),
    "glm4moe": (
        "Glm4MoeForCausalLM",
        {**ROUTED, "head_dim": 32, "use_qk_norm": True, "routed_scaling_factor": 1.5},
    ),
    "ernie4_5-moe": (
        "Ernie4_5_MoeForCausalLM",
        {
            "moe_num_experts": 8,
            "moe_k": 2,
            "moe_intermediate_size": 32,
            "moe_num_shared_experts": 2,
            "head_dim": 32,
        },
    ),
    "hunyuan-moe": (
        "HunYuanMoEV1ForCausalLM",
        {"num_experts": 8, "moe_topk": [2] * 4, "head_dim": 32, "rope_parameters": PLAIN, **HUNYUAN},
    ),
    "hunyuan-moe-alpha": (
        "HunYuanMoEV1ForCausalLM",
        {
            "num_experts": 8,
            "moe_topk": [2, 2, 2, 2],
            **HUNYUAN,
            "head_dim": 32,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": 50.0},
        },
    ),
    "dots1": (
        "Dots1ForCausalLM",
        {
            **ROUTED,
            "num_key_value_heads": 4,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "head_dim": 32,
            "sliding_window": None,
        },
    ),
    "minimax-m2": (
        "MiniMaxM2ForCausalLM",
        {**LOCAL_EXPERTS, "head_dim": 32, "rotary_dim": 16, "intermediate_size": 32},
    ),
    "lfm2moe": (
        "Lfm2MoeForCausalLM",
        {
            **EXPERTS,
            "num_dense_layers": 1,
            "layer_types": ["conv", "full_attention", "conv", "full_attention"],
            "tie_word_embeddings": True,
        },
    ),
    "llama4": ("Llama4ForCausalLM", LLAMA4),
    "llama4-llama3": ("Llama4ForCausalLM", LLAMA4 | {"rope_parameters": LLAMA3_ROPE}),
    "qwen3vlmoe": ("Qwen3VLMoeForConditionalGeneration", VISION),
    "qwen3vlmoe-turned": ("Qwen3VLMoeForConditionalGeneration", VISION),
    "gemma3": ("Gemma3ForCausalLM", GEMMA | {"num_hidden_layers": 7, "rope_parameters": GEMMA_ROPE}),
    "gemma3-pattern": (
        "Gemma3ForCausalLM",
        GEMMA
        | {
            "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
            "final_logit_softcapping": 5.0,
            "tie_word_embeddings": False,
        },
    ),
    "gemma3-full": ("Gemma3ForCausalLM", GEMMA | {"layer_types": ["full_attention"] * 4}),
    "gemma3-yarn": (
        "Gemma3ForCausalLM",
        GEMMA | {"rope_parameters": {"full_attention": YARN | {"original_max_position_embeddings": 16}}},
    ),
    "gemma3-vision": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": GEMMA | {"rope_parameters": GEMMA_ROPE},
            "vision_config": _SIGLIP | {"image_size": 28, "patch_size": 14},
            "tie_word_embeddings": True,
        },
    ),
    "mistral3": ("Ministral3ForCausalLM", {"head_dim": 32, "rope_parameters": MINISTRAL_ROPE}),
    "mistral3-tied": (
        "Ministral3ForCausalLM",
        {
            "head_dim": 32,
            "tie_word_embeddings": True,
            "rope_parameters": MINISTRAL_ROPE | {"mscale": 2.0, "truncate": False},
        },
    ),
    "mistral3-vision": (
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {
                "model_type": "mistral",
                "head_dim": 32,
                "sliding_window": None,
                "rope_parameters": PLAIN,
            },
            "vision_config": _SIGLIP
            | {"model_type": "pixtral", "head_dim": 16, "image_size": 28, "patch_size": 14},
        },
    ),
    "phi3": ("Phi3ForCausalLM", {"rope_parameters": PARTLY | {"partial_rotary_factor": 0.75}}),
    "phi3-window": ("Phi3ForCausalLM", {"sliding_window": 32, "tie_word_embeddings": True}),
    "phi3-longrope": (
        "Phi3ForCausalLM",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32},
    ),
    "phi3-longrope-short": (
        "Phi3ForCausalLM",
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 512},
    ),
    "gemma2": ("Gemma2ForCausalLM", GEMMA | {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 3.0}),
    "granite": ("GraniteForCausalLM", {**GRANITE, "intermediate_size": 96, "mlp_bias": True}),
    "granite-longrope": (
        "GraniteForCausalLM",
        {
            **GRANITE,
            "rope_parameters": LONGROPE | {"original_max_position_embeddings": 32, "attention_factor": 1.3},
        },
    ),
    "smollm3": ("SmolLM3ForCausalLM", {"tie_word_embeddings": True}),
    "olmo2": ("Olmo2ForCausalLM", {}),
    "olmo3": (
        "Olmo3ForCausalLM",
        {
            "sliding_window": 16,
            "rope_parameters": {
                "full_attention": YARN | {"attention_factor": 1.3},
                "sliding_attention": PLAIN,
            },
        },
    ),
    "glm4": ("Glm4ForCausalLM", {"head_dim": 32, "rope_parameters": PARTLY | {"partial_rotary_factor": 0.5}}),
    "cohere2": (
        "Cohere2ForCausalLM",
        {"sliding_window": 16, "tie_word_embeddings": True, "rotary_pct": 1.0, "use_qk_norm": False},
    ),
    "mistral4": (
        "Mistral4ForCausalLM",
        {**ROUTED, **LATENT, "first_k_dense_replace": 0, "rope_parameters": MISTRAL4_ROPE},
    ),
    "mistral4-vision": (
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {
                **ROUTED,
                **LATENT,
                "model_type": "mistral4",
                "rope_parameters": MISTRAL4_ROPE | {"factor": 1.0},
            },
            "vision_config": _SIGLIP
            | {"model_type": "pixtral", "head_dim": 16, "image_size": 28, "patch_size": 14},
        },
    ),
}
