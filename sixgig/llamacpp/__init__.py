"""The C boundary to the pinned llama.cpp library, and nothing else."""

from sixgig.llamacpp.breakdown import BufferNeed, memory_breakdown, plan_buffers
from sixgig.llamacpp.graph import ModelTraits, evaluation_bytes, model_traits
from sixgig.llamacpp.layout import check_layout
from sixgig.llamacpp.library import Library, let_threads_sleep, load_library, may_choose_waiting
from sixgig.llamacpp.pin import WHEEL, WHEEL_VERSION
from sixgig.llamacpp.structs import (
    Batch,
    BufferOverride,
    ContextParams,
    InitParams,
    ModelParams,
    SamplerChainParams,
)

__all__ = [
    "WHEEL",
    "WHEEL_VERSION",
    "Batch",
    "BufferNeed",
    "BufferOverride",
    "ContextParams",
    "InitParams",
    "Library",
    "ModelParams",
    "ModelTraits",
    "SamplerChainParams",
    "check_layout",
    "evaluation_bytes",
    "let_threads_sleep",
    "load_library",
    "may_choose_waiting",
    "memory_breakdown",
    "model_traits",
    "plan_buffers",
]
