"""Tiny random models that encode: BERT, T5's encoder alone, and T5 with its decoder.

No architecture of these has a declaration: they stand for all that the engine knows and sixgig does not.
"""

from pathlib import Path
from typing import Any

from tests.tiny.sheet import Sheet, Sizes
from tests.tiny.vocabulary import tokens

_HIDDEN = 128


def bert(path: Path, pooling: Any = None) -> Path:
    """A BERT; pooling: gguf.PoolingType, None where the file does not say."""
    sheet = _sheet(path, "bert")
    writer, width = sheet.writer, sheet.sizes.width
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_token_type_count(2)
    writer.add_feed_forward_length(_HIDDEN)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    sheet.matrix("token_embd", len(tokens()), width, gain=width**0.5)
    sheet.exact("token_types.weight", (2, width))
    sheet.exact("position_embd.weight", (512, width))
    _biased_norm(sheet, "token_embd_norm")
    for number in range(sheet.sizes.n_layers):
        layer = f"blk.{number}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            sheet.matrix(layer + name, width, width)
            sheet.exact(f"{layer}{name}.bias", (width,))
        _biased_norm(sheet, layer + "attn_output_norm")
        _biased_norm(sheet, layer + "layer_output_norm")
        sheet.matrix(layer + "ffn_up", _HIDDEN, width)
        sheet.matrix(layer + "ffn_down", width, _HIDDEN)
    sheet.write()
    return path


def t5(path: Path, *, decodes: bool = True, pooling: Any = None) -> Path:
    """A T5, or its encoder alone."""
    sheet = _sheet(path, "t5" if decodes else "t5encoder")
    writer, width = sheet.writer, sheet.sizes.width
    writer.add_relative_attn_buckets_count(8)
    writer.add_feed_forward_length(_HIDDEN)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    sheet.matrix("token_embd", len(tokens()), width, gain=width**0.5)
    for stack in ("enc", "dec") if decodes else ("enc",):
        sheet.norm(f"{stack}.output_norm", width)
        for number in range(sheet.sizes.n_layers):
            _t5_layer(sheet, f"{stack}.blk.{number}.", crosses=stack == "dec")
    if decodes:
        writer.add_decoder_start_token_id(0)
    sheet.write()
    return path


def _t5_layer(sheet: Sheet, layer: str, crosses: bool) -> None:
    width = sheet.sizes.width
    sheet.exact(f"{layer}attn_rel_b.weight", (8, sheet.sizes.n_heads))
    for kind in ("attn", "cross_attn") if crosses else ("attn",):
        sheet.norm(f"{layer}{kind}_norm", width)
        for name in ("q", "k", "v", "o"):
            sheet.matrix(f"{layer}{kind}_{name}", width, width)
    sheet.norm(layer + "ffn_norm", width)
    sheet.matrix(layer + "ffn_up", _HIDDEN, width)
    sheet.matrix(layer + "ffn_down", width, _HIDDEN)


def _sheet(path: Path, architecture: str) -> Sheet:
    sizes = Sizes("F32", n_layers=2, n_experts=0, n_used=0, expert_width=0, width=64)
    sheet = Sheet(path, architecture, sizes, seed=0, max_tensors=0)
    sheet.common_metadata(context=512)
    return sheet


def _biased_norm(sheet: Sheet, name: str) -> None:
    sheet.norm(name, sheet.sizes.width)
    sheet.exact(f"{name}.bias", (sheet.sizes.width,))
