"""Tiny dense models: what each architecture adds to attention and a feed-forward part."""

from collections.abc import Callable

import numpy as np
from gguf import RopeScalingType

from tests.tiny.hybrid import hybrid
from tests.tiny.sheet import Sheet

TIED = ("gemma3",)  # the embedding is the head


def attention_and_norms(
    sheet: Sheet, layer: str, *, qk_norm: bool, biased: bool = False, second: str = "ffn_norm"
) -> None:
    """Grouped-query attention, and the norms before it and before the feed-forward part."""
    sheet.norm(layer + "attn_norm", sheet.sizes.width)
    sheet.attention(layer, qk_norm=qk_norm, biased=biased)
    sheet.norm(layer + second, sheet.sizes.width)


def _plain(sheet: Sheet, *, qk_norm: bool = False, biased: bool = False, second: str = "ffn_norm") -> None:
    sheet.head_metadata()
    sheet.writer.add_feed_forward_length(sheet.sizes.expert_width)
    for number in range(sheet.sizes.n_layers):
        layer = f"blk.{number}."
        attention_and_norms(sheet, layer, qk_norm=qk_norm, biased=biased, second=second)
        sheet.feed_forward(layer, "", sheet.sizes.expert_width)


def _qwen2(sheet: Sheet) -> None:
    _plain(sheet, biased=True)


def _qwen3(sheet: Sheet) -> None:
    _plain(sheet, qk_norm=True)


def _qwen35(sheet: Sheet) -> None:
    width = sheet.sizes.expert_width
    sheet.writer.add_feed_forward_length(width)
    hybrid(sheet, lambda layer: sheet.feed_forward(layer, "", width))


def _seed_oss(sheet: Sheet) -> None:
    _plain(sheet, biased=True, second="post_attention_norm")


def _gemma3(sheet: Sheet) -> None:
    """A window in every other layer, with a base of its own; norms before and after each part."""
    sheet.writer.add_sliding_window(16)
    sheet.writer.add_sliding_window_pattern(2)
    sheet.writer.add_rope_freq_base_swa(500.0)
    _plain(sheet, qk_norm=True)
    for number in range(sheet.sizes.n_layers):
        for name in ("post_attention_norm", "post_ffw_norm"):
            sheet.norm(f"blk.{number}.{name}", sheet.sizes.width)


def _mistral3(sheet: Sheet) -> None:
    """YaRN from 64 positions on, and queries that grow from there on."""
    writer = sheet.writer
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(8.0)
    writer.add_rope_scaling_orig_ctx_len(64)
    writer.add_rope_scaling_yarn_beta_fast(4.0)
    writer.add_rope_scaling_yarn_beta_slow(0.5)
    writer.add_rope_scaling_yarn_log_mul(0.5)
    writer.add_attn_temperature_scale(0.3)
    _plain(sheet)


def _phi3(sheet: Sheet) -> None:
    """Fused matrices; three quarters of a head are turned, with other factors beyond 64 positions."""
    sizes, n_rotary, random = sheet.sizes, 48, np.random.default_rng(5)
    sheet.head_metadata(n_rotary)
    sheet.writer.add_feed_forward_length(sizes.expert_width)
    sheet.writer.add_rope_scaling_orig_ctx_len(64)
    sheet.writer.add_rope_scaling_attn_factors(1.2)
    for name, most in (("long", 16.0), ("short", 2.0)):
        factors = np.sort(random.uniform(1.0, most, n_rotary // 2)).astype(np.float32)
        sheet.values(f"rope_factors_{name}.weight", factors)
    heads = sizes.n_heads + 2 * sizes.n_kv_heads
    for number in range(sizes.n_layers):
        layer = f"blk.{number}."
        sheet.norm(layer + "attn_norm", sizes.width)
        sheet.matrix(layer + "attn_qkv", heads * sizes.head_width, sizes.width)
        sheet.matrix(layer + "attn_output", sizes.width, sizes.n_heads * sizes.head_width, gain=0.3)
        sheet.norm(layer + "ffn_norm", sizes.width)
        sheet.matrix(layer + "ffn_up", 2 * sizes.expert_width, sizes.width, gain=1.5)
        sheet.matrix(layer + "ffn_down", sizes.width, sizes.expert_width, gain=0.3)


DENSE: dict[str, Callable[[Sheet], None]] = {
    "llama": _plain,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen35": _qwen35,
    "seed_oss": _seed_oss,
    "gemma3": _gemma3,
    "mistral3": _mistral3,
    "phi3": _phi3,
}
