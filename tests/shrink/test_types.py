"""Which tensors of any architecture may be stored otherwise: those that the engine reads as matrices.

The names are llama.cpp's; how each is read was seen in the graphs of 130 small models of its architectures.
"""

import pytest

from sixgig.compress.types import can_be_quantised, candidates
from sixgig.families import Role, family
from sixgig.modelfile import TYPE_BY_NAME
from sixgig.weights.stored import WeightInfo

# Added, scaled by, convolved with, looked up: the graph reads them in F32 (or F16) only.
READ_AS_THEY_ARE = (
    "attn_compressor_ape", "indexer_compressor_ape", "attn_conv_base", "attn_rel_b",
    "attn_res_score", "ssm_norm", "attn_q_norm", "hc_attn_norm", "layer_output_norm",
    "ple_norm_key", "ssm_conv1d", "ssm_conv1d_q", "ple_conv1d", "shortconv.conv",
    "time_mix_lerp_fused", "time_mix_lerp_x", "time_mix_first", "time_mix_decay", "time_mix_w1",
    "time_mix_a2", "time_mix_g1", "time_mix_v0", "time_mix_r_k", "time_mix_ln", "time_mix_decay_w2",
    "channel_mix_lerp_k", "altup_correct_scale", "hc_ffn_base", "hc_ffn_scale", "ffn_gate_tid2eid",
)  # fmt: skip
# Small matrices that choose or steer.
STEERING = (
    "ffn_gate_inp", "attn_v_gate", "indexer.proj", "indexer.k_proj", "indexer.attn_q_b",
    "indexer_compressor_kv", "altup_router", "laurel_l", "hc_attn_fn", "hc_ffn_down",
)  # fmt: skip
MATRICES = {
    Role.ATTENTION: "attn_q attn_kv_a_mqa attn_k_b attn_output_b cross_attn_o vis_attn_qkv",
    Role.LINEAR_ATTENTION: "ssm_in ssm_f_a ssm_beta shortconv.in_proj time_mix_key",
    Role.FEED_FORWARD: "ffn_up ffn_routed_down channel_mix_value vis_down",
    Role.SHARED_EXPERT: "ffn_down_shexp ffn_up_chexps",
    Role.ROUTED_EXPERT: "ffn_gate_up_exps ffn_down_exps",
    Role.PROJECTION: "inp_gate proj ple_value nextn.eh_proj nextn.shared_head_head",
    Role.EMBEDDING: "nextn.embed_tokens",
}
PAIRS = [(role, stem) for role, stems in MATRICES.items() for stem in stems.split()]
FREE_OUTSIDE = (
    "token_embd", "per_layer_token_embd", "output", "cls", "cls.output", "dense_2", "fc",
    "convnext.3.pw1",
)  # fmt: skip
KEPT_OUTSIDE = (
    "position_embd", "token_types", "per_layer_model_proj", "altup_proj", "output_hc_fn", "conv1d",
    "rope_freqs", "posnet.0.conv1", "of_a_later_engine",
)  # fmt: skip


def tensor(name: str, shape: tuple[int, ...] = (256, 64), kind: str = "F16") -> WeightInfo:
    return WeightInfo(name, shape, TYPE_BY_NAME[kind], *family("any").classify(name))


@pytest.mark.parametrize("stem", [*READ_AS_THEY_ARE, *STEERING])
@pytest.mark.parametrize("place", ["blk.3.", "enc.blk.3.", "dec.blk.3."])
def test_what_no_product_reads_keeps_its_type(place: str, stem: str) -> None:
    info = tensor(f"{place}{stem}.weight")
    assert not can_be_quantised(info)
    assert candidates(info) == (info.type,)


@pytest.mark.parametrize(("role", "stem"), PAIRS)
def test_matrices_of_every_architecture_may_be_quantised(role: Role, stem: str) -> None:
    info = tensor(f"blk.3.{stem}.weight")
    assert (info.role, info.layer) == (role, 3)
    assert can_be_quantised(info)
    assert not can_be_quantised(tensor(f"blk.3.{stem}.bias")), "biases are added"
    assert not can_be_quantised(tensor(f"blk.3.{stem}.scale"))


@pytest.mark.parametrize("stem", [*FREE_OUTSIDE, *KEPT_OUTSIDE])
def test_outside_the_layers_too(stem: str) -> None:
    assert can_be_quantised(tensor(f"{stem}.weight")) is (stem in FREE_OUTSIDE)


@pytest.mark.parametrize("kind", ["I32", "I64", "F64"])
def test_a_table_of_numbers_that_are_no_weights_is_kept(kind: str) -> None:
    assert not can_be_quantised(tensor("blk.0.ffn_up.weight", kind=kind))


def test_rows_that_are_no_whole_blocks_get_types_of_smaller_ones() -> None:
    assert {kind.name for kind in candidates(tensor("blk.0.ffn_up.weight", (192, 64)))} >= {"Q4_0", "Q8_0"}
    assert "Q4_K" not in {kind.name for kind in candidates(tensor("blk.0.ffn_up.weight", (192, 64)))}
    assert not can_be_quantised(tensor("blk.0.ffn_up.weight", (200, 64)))
