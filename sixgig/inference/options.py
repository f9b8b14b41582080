"""How a model is opened: the numbers that decide memory and speed, each set explicitly."""

from dataclasses import dataclass

from sixgig.errors import UsageError
from sixgig.hardware.cores import usable_cores
from sixgig.llamacpp import structs
from sixgig.llamacpp.structs import ContextParams, ModelParams
from sixgig.typed import within

MAX_CONTEXT = 1 << 24
CONTEXT_STEP = 256  # the engine rounds each sequence's cache up to a multiple of it
MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ


@dataclass(frozen=True)
class EngineOptions:
    """What an Engine is opened with. Raises UsageError for values that cannot work.

    context: positions in the KV cache for each sequence; llama.cpp rounds it up to a multiple of 256.
    sequences: answered side by side, each with a context of its own; Engine uses one.
    ubatch: tokens evaluated together; each llama_decode call gets at most this many.
    threads: 0 means the performance cores this process may use, less what others keep busy while the model
        runs. Attention of one token to 512 or more rounds by the count of threads: bits want a fixed one.
    type_k, type_v: element types of the KV cache; a quantised type_v needs flash attention.
    extra_buffers: let llama.cpp repack weights for its fastest kernels (other bits than without).
    gpu_layers: layers placed on a GPU, the last ones, the head counting as one more; 0 keeps every buffer and
        every operation off it. host_tensors: names of tensors of such layers that stay in main memory.
    offload_products: let a GPU borrow weights in main memory for prompts; never where they are paged, since
        it would copy them unread.
    pooling: how the hidden states of a text become one embedding; None: the model generates.
    all_logits: reserve memory for the logits of a whole ubatch, as Engine.all_logits needs.
    checkpoint: before each prompt copy what cannot be cut back (recurrent states, sliding windows), so that a
        prompt given up costs no more than itself. planning.context.checkpoint_bytes, which the caller counts.
    """

    context: int = 4096
    ubatch: int = 512
    threads: int = 0
    type_k: str = "F16"
    type_v: str = "F16"
    flash_attention: str = "auto"
    extra_buffers: bool = True
    gpu_layers: int = 0
    host_tensors: tuple[str, ...] = ()
    offload_products: bool = True
    all_logits: bool = False
    sequences: int = 1
    pooling: str | None = None
    checkpoint: bool = False

    def __post_init__(self) -> None:
        """Refuse what llama.cpp would refuse later or, worse, replace silently."""
        within("context", self.context, 1, MAX_CONTEXT)
        within("sequences", self.sequences, 1, MAX_SEQUENCES)
        within("ubatch", self.ubatch, 1, MAX_CONTEXT)
        within("threads", self.threads, 0, 512)
        within("gpu layers", self.gpu_layers, 0, 1 << 20)
        _among("K cache type", self.type_k, structs.KV_TYPES)
        _among("V cache type", self.type_v, structs.KV_TYPES)
        if self.pooling is not None:
            _among("pooling", self.pooling, structs.POOLING)
        _among("flash attention", self.flash_attention, structs.FLASH_ATTENTION)

    @property
    def thread_count(self) -> int:
        """Threads that compute, the default resolved: the most there will be."""
        return self.threads or usable_cores().performance

    @property
    def total_context(self) -> int:
        """Positions of all sequences together; the engine divides them evenly, in steps of 256."""
        steps = -(-self.context // CONTEXT_STEP)
        return self.context if self.sequences == 1 else steps * CONTEXT_STEP * self.sequences

    @property
    def n_outputs(self) -> int:
        """Tokens of a batch that give a result, 0 for all of them: what pools reads each token's."""
        return 0 if self.all_logits or self.pooling else self.sequences

    def apply_to_model(self, params: ModelParams) -> None:
        """Fill llama_model_params: owned memory, no mapping, nothing chosen by the library."""
        params.load_mode = structs.LOAD_MODE_NONE
        params.lazy_mode = structs.LAZY_MODE_OFF
        params.n_gpu_layers = self.gpu_layers
        params.use_extra_bufts = self.extra_buffers

    def apply_to_context(self, params: ContextParams) -> None:
        """Fill llama_context_params; every sequence has a cache to itself."""
        params.n_ctx = self.total_context
        params.n_batch = params.n_ubatch = self.ubatch
        params.n_seq_max = self.sequences
        params.n_outputs_max = self.n_outputs
        if self.pooling is not None:
            params.embeddings, params.pooling_type = True, structs.POOLING[self.pooling]
        params.n_threads = params.n_threads_batch = self.thread_count
        params.flash_attn_type = structs.FLASH_ATTENTION[self.flash_attention]
        params.type_k, params.type_v = structs.KV_TYPES[self.type_k], structs.KV_TYPES[self.type_v]
        params.offload_kqv = self.gpu_layers > 0
        params.op_offload = self.gpu_layers > 0 and self.offload_products
        params.swa_full = False


def _among(name: str, value: str, known: dict[str, int]) -> None:
    if value not in known:
        raise UsageError(f"{name} {value!r} is unknown", "known: " + ", ".join(known))
