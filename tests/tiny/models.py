"""Builds a tiny random model of any supported kind: `build("qwen35moe", path)`.

Routing depends on the token (large embeddings, small layer outputs): experts come and go as in real models.
"""

from collections.abc import Callable
from pathlib import Path

from gguf import ExpertGatingFuncType

from tests.tiny.dense import DENSE, TIED, attention_and_norms
from tests.tiny.hybrid import hybrid
from tests.tiny.sheet import Sheet, Sizes


def _qwen35moe(sheet: Sheet) -> None:
    """One gated shared expert in each layer."""
    sizes = sheet.sizes
    sheet.writer.add_expert_shared_feed_forward_length(sizes.expert_width)

    def feed_forward(layer: str) -> None:
        sheet.experts(layer)
        sheet.exact(layer + "ffn_gate_inp_shexp.weight", (sizes.width,))
        sheet.feed_forward(layer, "_shexp", sizes.expert_width)

    hybrid(sheet, feed_forward)


def _qwen3moe(sheet: Sheet) -> None:
    sheet.head_metadata()
    for number in range(sheet.sizes.n_layers):
        layer = f"blk.{number}."
        attention_and_norms(sheet, layer, qk_norm=True)
        sheet.experts(layer)


def _qwen3vlmoe(sheet: Sheet) -> None:
    """Qwen3 with experts whose rotary positions have sections."""
    sheet.writer.add_rope_dimension_sections([11, 11, 10, 0])
    sheet.writer.add_num_deepstack_layers(0)
    _qwen3moe(sheet)


def _mixtral(sheet: Sheet) -> None:
    """Llama with experts, whose width is the feed-forward length."""
    sheet.head_metadata()
    sheet.writer.add_feed_forward_length(sheet.sizes.expert_width)
    for number in range(sheet.sizes.n_layers):
        layer = f"blk.{number}."
        attention_and_norms(sheet, layer, qk_norm=False)
        sheet.experts(layer)


def _gpt_oss(sheet: Sheet) -> None:
    """Sinks, sliding windows in every other layer, biases everywhere, experts included."""
    sizes = sheet.sizes
    sheet.head_metadata()
    sheet.writer.add_sliding_window(16)
    for number in range(sizes.n_layers):
        layer = f"blk.{number}."
        sheet.norm(layer + "attn_norm", sizes.width)
        sheet.attention(layer, qk_norm=False, biased=True)
        sheet.exact(layer + "attn_output.bias", (sizes.width,), deviation=0.01)
        sheet.exact(layer + "attn_sinks.weight", (sizes.n_heads,))
        sheet.norm(layer + "post_attention_norm", sizes.width)
        sheet.experts(layer)
        sheet.exact(layer + "ffn_gate_inp.bias", (sizes.n_experts,))
        for name, n_out in (("gate", sizes.expert_width), ("up", sizes.expert_width), ("down", sizes.width)):
            sheet.exact(f"{layer}ffn_{name}_exps.bias", (sizes.n_experts, n_out), deviation=0.01)


def _deepseek2(sheet: Sheet) -> None:
    """Latent attention, one leading dense layer, a shared expert, sigmoid gates with a selection bias."""
    sizes, writer = sheet.sizes, sheet.writer
    nope, rope, q_rank, kv_rank, value = 32, 32, 128, 64, 32
    writer.add_leading_dense_block_count(1)
    writer.add_feed_forward_length(256)
    writer.add_q_lora_rank(q_rank)
    writer.add_kv_lora_rank(kv_rank)
    writer.add_head_count_kv(1)
    writer.add_key_length(kv_rank + rope)
    writer.add_value_length(kv_rank)
    writer.add_key_length_mla(nope + rope)
    writer.add_value_length_mla(value)
    writer.add_rope_dimension_count(rope)
    writer.add_expert_shared_count(1)
    writer.add_expert_weights_scale(1.5)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(ExpertGatingFuncType.SIGMOID)
    for number in range(sizes.n_layers):
        layer = f"blk.{number}."
        sheet.norm(layer + "attn_norm", sizes.width)
        sheet.matrix(layer + "attn_q_a", q_rank, sizes.width)
        sheet.norm(layer + "attn_q_a_norm", q_rank)
        sheet.matrix(layer + "attn_q_b", sizes.n_heads * (nope + rope), q_rank)
        sheet.matrix(layer + "attn_kv_a_mqa", kv_rank + rope, sizes.width)
        sheet.norm(layer + "attn_kv_a_norm", kv_rank)
        sheet.matrix(layer + "attn_k_b", kv_rank, nope, stack=sizes.n_heads)
        sheet.matrix(layer + "attn_v_b", value, kv_rank, stack=sizes.n_heads)
        sheet.matrix(layer + "attn_output", sizes.width, sizes.n_heads * value, gain=0.3)
        sheet.norm(layer + "ffn_norm", sizes.width)
        if number == 0:
            sheet.feed_forward(layer, "", 256)
        else:
            sheet.experts(layer)
            sheet.exact(layer + "exp_probs_b.bias", (sizes.n_experts,))
            sheet.feed_forward(layer, "_shexp", sizes.expert_width)


MIXTURES: dict[str, Callable[[Sheet], None]] = {
    "qwen35moe": _qwen35moe,
    "qwen3moe": _qwen3moe,
    "qwen3vlmoe": _qwen3vlmoe,
    "gpt-oss": _gpt_oss,
    "deepseek2": _deepseek2,
    "mixtral": _mixtral,
}


def build(
    architecture: str,
    path: Path,
    type_name: str = "Q4_0",
    n_layers: int = 4,
    seed: int = 0,
    expert_width: int = 256,
    n_experts: int = 8,
    n_used: int = 2,
    width: int = 256,
    max_tensors_per_file: int = 0,
    n_vocab: int = 0,
) -> Path:
    """Writes the model and returns its path, that of the first part when it was split.

    `architecture` is a key of DENSE or MIXTURES. `type_name` (F32, F16, Q8_0, Q4_0, Q4_K, Q6_K, ...) is given
    to every matrix whose rows are whole blocks of it. `max_tensors_per_file` above 0 splits the file.
    `n_vocab`: tokens, those beyond the usual few hundred being words that no text merges to.
    """
    sizes = Sizes(type_name, n_layers, n_experts, n_used, expert_width, width, n_vocab=n_vocab)
    sheet = Sheet(
        path, "llama" if architecture == "mixtral" else architecture, sizes, seed, max_tensors_per_file
    )
    sheet.common_metadata()
    sheet.outside_layers(tied=architecture in TIED)
    if architecture in MIXTURES:
        sheet.expert_metadata()
        MIXTURES[architecture](sheet)
    else:
        DENSE[architecture](sheet)
    sheet.write()
    return next(iter(sorted(path.parent.glob(f"{path.stem}-00001-of-*.gguf"))), path)
