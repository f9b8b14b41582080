"""Qwen3.5's layers: every fourth attends with a gate in its queries, the others are Gated DeltaNet."""

from collections.abc import Callable

from tests.tiny.sheet import Sheet


def hybrid(sheet: Sheet, feed_forward: Callable[[str], None]) -> None:
    """With what `feed_forward` adds to a layer, "blk.0."; behind attention its norm comes."""
    sizes, writer = sheet.sizes, sheet.writer
    sheet.head_metadata(n_rotary=32)
    writer.add_rope_dimension_sections([6, 5, 5, 0])
    writer.add_full_attention_interval(4)
    writer.add_ssm_conv_kernel(4)
    writer.add_ssm_state_size(32)
    writer.add_ssm_group_count(4)
    writer.add_ssm_time_step_rank(8)
    writer.add_ssm_inner_size(256)
    for number in range(sizes.n_layers):
        layer = f"blk.{number}."
        sheet.norm(layer + "attn_norm", sizes.width)
        if number % 4 == 3:
            sheet.attention(layer, qk_norm=True, q_rows=2)
        else:
            _delta_net(sheet, layer)
        sheet.norm(layer + "post_attention_norm", sizes.width)
        feed_forward(layer)


def _delta_net(sheet: Sheet, layer: str, key: int = 128, value: int = 256, n_value_heads: int = 8) -> None:
    width = sheet.sizes.width
    sheet.matrix(layer + "attn_qkv", 2 * key + value, width)
    sheet.matrix(layer + "attn_gate", value, width)
    sheet.exact(layer + "ssm_conv1d.weight", (2 * key + value, 4), deviation=0.5)
    sheet.exact(layer + "ssm_dt.bias", (n_value_heads,))
    sheet.exact(layer + "ssm_a", (n_value_heads,), mean=-1.0)
    sheet.matrix(layer + "ssm_beta", n_value_heads, width)
    sheet.matrix(layer + "ssm_alpha", n_value_heads, width)
    sheet.norm(layer + "ssm_norm", value // n_value_heads)
    sheet.matrix(layer + "ssm_out", width, value, gain=0.3)
