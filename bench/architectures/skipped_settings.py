"""Settings of every architecture that the engine's own generator skips, or makes without its experts.

What a loader wants was read in llama.cpp's src/models; sizes are the smallest that show what is special.
"""

from __future__ import annotations

from typing import Any

from bench.architectures.skipped_models import HEAD, N_HEADS, SCALES, WIDTH, Tiny
from tests.tiny.vocabulary import tokens

HIDDEN, N_EXPERTS, N_USED = 256, 16, 3
_MEAN, _CLS = 1, 2  # llama.cpp's LLAMA_POOLING_TYPE_MEAN and _CLS
_SIGMOID = 2
_N_VOCAB = len(tokens())

_HEADS = {"attention.key_length": HEAD, "attention.value_length": HEAD, "rope.dimension_count": HEAD}
_ALL_HEADS = {"attention.head_count_kv": N_HEADS}
_EXPERTS = {"expert_count": N_EXPERTS, "expert_used_count": N_USED, "expert_feed_forward_length": HIDDEN}
_SHARED = {"expert_shared_count": 1, "expert_shared_feed_forward_length": HIDDEN}
_RMS = {"attention.layer_norm_rms_epsilon": 1e-6}
_NO_BIASES = (SCALES, r".*\.bias", r"rope_freqs.*")

_BERT = _ALL_HEADS | {
    "attention.causal": False,
    "pooling_type": _MEAN,
    "tokenizer.ggml.token_type_count": 2,
    "attention.layer_norm_rms_epsilon": None,
}


def _word_piece() -> dict[str, Any]:
    """A vocabulary as BERT's: special tokens, letters that begin a word or go on with it, words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(f"\u2581{letter}" for letter in letters),
        *letters,
    ]
    words += [f"\u2581{word}" for word in ("the", "and", "in", "end", "is", "bell", "then")] + ["ing", "ice"]
    words += [f"\u2581word{number}" for number in range(_N_VOCAB - len(words))]
    special = {"unknown": 1, "bos": 2, "cls": 2, "eos": 3, "seperator": 3, "mask": 4}
    settings: dict[str, Any] = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": words}
    return settings | {f"tokenizer.ggml.{name}_token_id": token for name, token in special.items()}


_NO_CLASSES = (SCALES, r"cls\..*")


def _bert(architecture: str, n_layers: int = 3, **settings: Any) -> Tiny:
    return Tiny(architecture, _BERT | settings, n_layers, _NO_CLASSES, embeds=True)


_GEMMA = _HEADS | {
    "attention.sliding_window": 16,
    "attention.layer_norm_epsilon": None,
    "rope.freq_base": 1e6,
    "rope.freq_base_swa": 10000.0,
}
_GEMMA4 = _GEMMA | {
    "attention.sliding_window_pattern": [True, True, False, True, False],
    "attention.head_count_kv": [2, 2, 1, 2, 1],
    "attention.key_length_swa": 32,
    "attention.value_length_swa": 32,
    "rope.dimension_count_swa": 32,
    "final_logit_softcapping": 30.0,
}
_PER_LAYER = {"embedding_length_per_layer_input": 64}
_GEMMA4_MIXTURE = _GEMMA4 | _EXPERTS | {"embedding_length_per_layer_input": 0}
_SCALES_OF_DENSE = r".*(attn_\w+|ffn_(gate|up|down|(gate|up|gate_up)_exps))\.scale"  # files have others

_RWKV = {"attention.head_count": 0, "attention.head_count_kv": None, "wkv.head_size": HEAD}
_RWKV6 = _RWKV | {"time_mix_extra_dim": 32, "time_decay_extra_dim": 64}
_RWKV7 = _RWKV | {
    f"attention.{name}_lora_rank": 32 for name in ("decay", "iclr", "value_residual_mix", "gate")
}
_MAMBA2 = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 2 * WIDTH,
    "ssm.state_size": 32,
    "ssm.time_step_rank": 8,
    "ssm.group_count": 2,
}
_T5 = _HEADS | _ALL_HEADS | {"attention.relative_buckets_count": 32}
_STEP35 = {
    "attention.sliding_window": 16,
    "attention.sliding_window_pattern": [False, True, True, True],
    "attention.head_count": [4, 6, 6, 6],
    "rope.freq_base_swa": 10000.0,
    "expert_gating_func": _SIGMOID,
    "expert_weights_scale": 3.0,
    "expert_weights_norm": True,
}
_XIELU = {
    "xielu.alpha_n": [0.8, 0.7, 0.6],
    "xielu.alpha_p": [0.9, 0.8, 0.7],
    "xielu.beta": [0.5, 0.5, 0.5],
    "xielu.eps": [1e-6, 1e-6, 1e-6],
}
_NO_ATTENTION_BIASES = (SCALES, r".*attn_\w+\.bias", r"rope_freqs.*")
_NEMOTRON_H = (
    _HEADS
    | _MAMBA2
    | _EXPERTS
    | _SHARED
    | {
        "attention.head_count_kv": [0, 0, 2, 0],
        "feed_forward_length": [0, HIDDEN, 0, HIDDEN],
        "expert_weights_norm": True,
        "expert_weights_scale": 2.5,
        "expert_gating_func": _SIGMOID,
    }
)
_BY_LAYER = {
    "expert_feed_forward_length": [0, HIDDEN, 0, HIDDEN // 2],
    "expert_used_count": [0, N_USED, 0, 2],
    "moe_latent_size": 128,
}
_GRANITE = {"logit_scale": 6.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.015625}
_PLM = {
    "attention.key_length": 96,
    "attention.value_length": HEAD,
    "rope.dimension_count": 32,
    "attention.kv_lora_rank": 128,
}
_SWITCH = {
    "adapters.count": 2,
    "adapters.lora_rank": 8,
    "adapters.token_ids_activate": [200, 201],
    "adapters.token_ids_substitute": [1, 2],
}
_WAVES = {
    "features_length": WIDTH,
    "posnet.embedding_length": WIDTH,
    "posnet.block_count": 6,
    "convnext.embedding_length": WIDTH,
    "convnext.block_count": 2,
    "attention.group_norm_epsilon": 1e-6,
    "attention.group_norm_groups": 8,
    "attention.causal": False,
}


def _assistant(n_out: int = 128) -> dict[str, tuple[int, ...]]:
    """Two layers, one that slides and one that does not; queries only, for keys are the other model's."""
    square, vector = (WIDTH, HIDDEN), (WIDTH,)
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, _N_VOCAB),
        "output_norm.weight": vector,
        "nextn.post_projection.weight": (WIDTH, n_out),
        "nextn.pre_projection.weight": (2 * n_out, WIDTH),
        "rope_freqs.weight": (HEAD // 2,),
    }
    for layer, head in ((0, HEAD // 2), (1, HEAD)):
        own = {
            "attn_q": (WIDTH, head * N_HEADS),
            "attn_output": (head * N_HEADS, WIDTH),
            "attn_q_norm": (head,),
        }
        own |= {f"ffn_{part}": square for part in ("gate", "up", "down")}
        own |= {norm: vector for norm in ("attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm")}
        own["layer_output_scale"] = (1,)
        tensors |= {f"blk.{layer}.{stem}.weight": shape for stem, shape in own.items()}
    return tensors


_DRAFT = _HEADS | {"target_layers": [0, 1, 2]}
_A_DRAFT = "a draft for another model's tokens: nothing by itself"

TINY: dict[str, Tiny] = {
    "gemma3n": Tiny("gemma3n", _GEMMA | {"embedding_length": 128, "feed_forward_length": 128}, 22),
    "gemma4": Tiny("gemma4", _GEMMA4 | _PER_LAYER | {"attention.shared_kv_layers": 2}, 5),
    "gemma4, experts": Tiny("gemma4", _GEMMA4_MIXTURE, 5, (r".*\.input_scale", _SCALES_OF_DENSE)),
    "gemma-embedding": Tiny("gemma-embedding", _GEMMA | {"pooling_type": _MEAN}, 6, embeds=True),
    "gemma-embedding2": Tiny(
        "gemma-embedding2",
        _GEMMA4 | _PER_LAYER | {"pooling_type": _MEAN, "embedding_length_out": 128},
        5,
        embeds=True,
    ),
    "bert": _bert("bert", context_length=512, pooling_type=_CLS, **_word_piece()),
    "nomic-bert": _bert("nomic-bert", **{"rope.freq_base": 1000.0}),
    "nomic-bert-moe": _bert("nomic-bert-moe", 4, moe_every_n_layers=2, **_EXPERTS),
    "neo-bert": _bert("neo-bert", **_RMS),
    "jina-bert-v2": _bert("jina-bert-v2"),
    "jina-bert-v3": _bert("jina-bert-v3"),
    "modern-bert": _bert("modern-bert", 4, **{"attention.sliding_window": 16}),
    "eurobert": _bert("eurobert", **_RMS),
    "llama-embed": Tiny(
        "llama-embed", {"attention.causal": False, "pooling_type": _MEAN}, 3, _NO_BIASES, embeds=True
    ),
    "t5encoder": Tiny("t5encoder", _T5 | {"pooling_type": _MEAN}, embeds=True),
    "rwkv6": Tiny("rwkv6", _RWKV6),
    "rwkv6qwen2": Tiny(
        "rwkv6qwen2",
        _RWKV6 | {"token_shift_count": 1, "attention.head_count_kv": 2},
        3,
        (SCALES, r".*time_mix_first.*"),
    ),
    "rwkv7": Tiny("rwkv7", _RWKV7),
    "arwkv7": Tiny("arwkv7", _RWKV7 | {"token_shift_count": 1}),
    "step35": Tiny(
        "step35",
        _HEADS | _EXPERTS | _SHARED | _STEP35,
        4,
        (
            SCALES,
            r"blk\.0\.(ffn_.*(exps|shexp|gate_inp)|exp_probs_b).*",
            r"blk\.[123]\.ffn_(gate|up|down)\.weight",
        ),
    ),
    "apertus": Tiny("apertus", _HEADS | _XIELU, 3, _NO_BIASES),
    "nemotron_h_moe, experts": Tiny(
        "nemotron_h_moe",
        _HEADS | _MAMBA2 | _SHARED | _EXPERTS | _NEMOTRON_H,
        4,
        (SCALES, r".*attn_\w+\.bias"),
    ),
    "nemotron_h_moe, experts by layer": Tiny(
        "nemotron_h_moe",
        _HEADS | _MAMBA2 | _SHARED | _EXPERTS | _NEMOTRON_H | _BY_LAYER,
        4,
        (SCALES, r".*attn_\w+\.bias"),
    ),
    "granitehybrid, experts": Tiny(
        "granitehybrid",
        _HEADS | _MAMBA2 | _EXPERTS | _SHARED | _GRANITE | {"attention.head_count_kv": [0, 2, 0]},
        3,
        _NO_ATTENTION_BIASES,
    ),
    "bitnet": Tiny("bitnet", _ALL_HEADS, 3, (r".*\.input_scale",)),
    "deepseek2-ocr": Tiny(
        "deepseek2-ocr",
        _ALL_HEADS | _EXPERTS | _SHARED | {"leading_dense_block_count": 1},
        3,
        (SCALES, r".*attn_[qkv]\.bias", r".*exp_probs_b.*"),
        split=True,
    ),
    "graniteswitch": Tiny("graniteswitch", _HEADS | _GRANITE | _SWITCH),
    "chameleon": Tiny("chameleon", _ALL_HEADS | {"attention.layer_norm_epsilon": None}, n_vocab=10240),
    "plm": Tiny("plm", _ALL_HEADS | _PLM, refused="the engine's graph of it does not fit its own cache"),
    "t5": Tiny("t5", _T5, refused="the engine's own server does not run an encoder with a decoder either"),
    "wavtokenizer-dec": Tiny("wavtokenizer-dec", _WAVES, 6, refused="gives a vector a token: sound"),
    "eagle3": Tiny(
        "eagle3",
        _DRAFT | {"target_hidden_size": WIDTH},
        1,
        (SCALES, r"rope_freqs.*"),
        {"token_embd.weight": (WIDTH, _N_VOCAB)},
        refused=_A_DRAFT,
    ),
    "dflash": Tiny("dflash", _DRAFT | {"block_size": 8}, refused=_A_DRAFT),
    "gemma4-assistant": Tiny(
        "gemma4-assistant",
        _GEMMA4
        | {
            "attention.sliding_window_pattern": [True, False],
            "attention.head_count_kv": [2, 1],
            "embedding_length_out": 128,
            "nextn_predict_layers": 2,
        },
        2,
        by_hand=_assistant(),
        listed=False,
        refused=_A_DRAFT,
    ),
    "clip": Tiny(
        "clip", by_hand={"v.patch_embd.weight": (14, 14, 3, WIDTH)}, listed=False, refused="pictures only"
    ),
    "gptj": Tiny(
        "gptj", by_hand={"token_embd.weight": (WIDTH, _N_VOCAB)}, listed=False, refused="a name without code"
    ),
}
UNTESTED = {
    "clef": "scores options that a request names apart, by an interface that nothing here uses",
}
