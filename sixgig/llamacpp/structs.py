"""llama.cpp's C structures as of build 11549, with the defaults its own functions give.

Source: include/llama.h of the build before the `moe_cache_size` field appeared, plus that field, confirmed by
probing the pinned wheel (layout.py repeats that probe at every start).
"""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from typing import Any, ClassVar

LOG_CALLBACK = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
PROGRESS_CALLBACK = CFUNCTYPE(c_bool, c_float, c_void_p)

LOAD_MODE_NONE = 0
SPLIT_MODE_LAYER = 1
LAZY_MODE_OFF, LAZY_MODE_AUTO = 0, 1
POOLING = {"mean": 1, "cls": 2, "last": 3}
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
KV_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q5_0": 6,
    "Q5_1": 7,
    "Q8_0": 8,
    "IQ4_NL": 20,
    "BF16": 30,
}


class ModelParams(ctypes.Structure):
    """llama_model_params, 80 bytes on a 64-bit machine."""

    _fields_: ClassVar[Any] = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", PROGRESS_CALLBACK),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


MODEL_DEFAULTS: dict[str, Any] = {
    "n_gpu_layers": -1,
    "split_mode": SPLIT_MODE_LAYER,
    "load_mode": -1,
    "lazy_mode": LAZY_MODE_AUTO,
    "use_extra_bufts": True,
}


class BufferOverride(ctypes.Structure):
    """llama_model_tensor_buft_override: where tensors go whose name matches; a null pattern ends the list."""

    _fields_: ClassVar[Any] = [("pattern", c_char_p), ("buffer_type", c_void_p)]


class ContextParams(ctypes.Structure):
    """llama_context_params, 168 bytes on a 64-bit machine."""

    _fields_: ClassVar[Any] = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


CONTEXT_DEFAULTS: dict[str, Any] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": -1.0,
    "yarn_beta_fast": -1.0,
    "yarn_beta_slow": -1.0,
    "defrag_thold": -1.0,
    "type_k": KV_TYPES["F16"],
    "type_v": KV_TYPES["F16"],
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
}


class Batch(ctypes.Structure):
    """llama_batch: tokens of one llama_decode call; null `pos` and `seq_id` mean "go on in sequence 0"."""

    _fields_: ClassVar[Any] = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", c_void_p),
        ("logits", POINTER(c_int8)),
    ]


class InitParams(ctypes.Structure):
    """ggml_init_params: a context of mem_size bytes for tensors, with no_alloc without their data."""

    _fields_: ClassVar[Any] = [("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool)]


class SamplerChainParams(ctypes.Structure):
    """llama_sampler_chain_params, one byte."""

    _fields_: ClassVar[Any] = [("no_perf", c_bool)]


class PerfContext(ctypes.Structure):
    """llama_perf_context_data: milliseconds and counts since the last reset."""

    _fields_: ClassVar[Any] = [
        ("t_start_ms", c_double),
        ("t_load_ms", c_double),
        ("t_p_eval_ms", c_double),
        ("t_eval_ms", c_double),
        ("n_p_eval", c_int32),
        ("n_eval", c_int32),
        ("n_reused", c_int32),
    ]


class TypeTraits(ctypes.Structure):
    """ggml_type_traits: how a storage type becomes float32 (null where it does not)."""

    _fields_: ClassVar[Any] = [
        ("type_name", c_char_p),
        ("block_elements", c_int64),
        ("interleaved_elements", c_int64),
        ("block_bytes", c_size_t),
        ("is_quantised", c_bool),
        ("to_float", c_void_p),
        ("from_float_reference", c_void_p),
    ]


class Tensor(ctypes.Structure):
    """ggml_tensor of the pinned build, 336 bytes on a 64-bit machine."""

    _fields_: ClassVar[Any] = [
        ("type", c_int),
        ("buffer", c_void_p),
        ("ne", c_int64 * 4),
        ("nb", c_size_t * 4),
        ("op", c_int),
        ("op_params", c_int32 * 16),
        ("flags", c_int32),
        ("src", c_void_p * 10),
        ("view_src", c_void_p),
        ("view_offs", c_size_t),
        ("data", c_void_p),
        ("name", c_char * 64),
        ("extra", c_void_p),
        ("padding", c_char * 8),
    ]
