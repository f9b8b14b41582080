"""llama.cpp's own HTTP server on a model whose memory was planned, behind a Unix socket.

Templates, tools, grammars, batching and streaming are the server's. What would break a budget (caches beside
the context, checkpoints without bound, fitting to free memory) is set here, each one explicitly. One server a
process: the library's loader is global.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sixgig.errors import EngineError, SixgigError
from sixgig.hardware.cores import usable_cores
from sixgig.hardware.memory import give_back
from sixgig.inference.loading import model_params
from sixgig.inference.memory import Arrangement
from sixgig.inference.options import EngineOptions
from sixgig.inference.threads import ThreadCount
from sixgig.llamacpp import let_threads_sleep, load_library
from sixgig.llamacpp.pin import CURE
from sixgig.llamacpp.structs import FLASH_ATTENTION, KV_TYPES, POOLING, PROGRESS_CALLBACK
from sixgig.modelfile import ModelFile
from sixgig.pager.native import load_native
from sixgig.pager.pager import Counters, ModelStream
from sixgig.pager.server_loader import (
    CHOOSE_THREADS,
    ServerLoad,
    address_of,
    guard_grammars,
    open_server_loader,
)
from sixgig.planning import Need, Use, anatomy

MIB = 1 << 20
CHECKPOINTS = 2  # of each sequence: before its last message, and near the prompt's end
# Measured (LOG.md): the server's module, threads and parsers; and what one request in flight holds at most.
SERVER_BYTES, REQUEST_BYTES = 16 * MIB, 3 * MIB // 2
# For each token of the vocabulary: a grammar looks at all of them; each sequence keeps a candidate.
GRAMMAR_BYTES, CANDIDATE_BYTES = 128, 16
# Threads for connections, beside one a sequence. Each has a stack of 8 MiB of address space, which must be
# there before the process is held to its grant.
SPARE_THREADS = 16
ONLY_ERRORS = 1  # the server's log level: warnings may quote a request


@dataclass(frozen=True)
class Serving:
    """socket: where the server listens; at most 107 bytes, ending in .sock.

    name: what it calls the model in its answers. report_fd: gets the progress of loading, in lines of JSON.
    """

    socket: Path
    name: str
    report_fd: int


def prepare_process() -> None:
    """Before anything opens the engine's library: ours comes first, and waiting threads are to sleep."""
    open_server_loader()
    let_threads_sleep()


def serving_needs(model: ModelFile, options: EngineOptions, checkpoint_bytes: int) -> tuple[Need, ...]:
    """What the server holds besides the engine: itself, requests, checkpoints of what is not rolled back.

    checkpoint_bytes: of one such checkpoint (dry_load.checkpoint_bytes).
    """
    kept = CHECKPOINTS * options.sequences * checkpoint_bytes
    vocabulary = anatomy(model).n_vocab
    itself = SERVER_BYTES + GRAMMAR_BYTES * vocabulary
    requests = options.sequences * (REQUEST_BYTES + CANDIDATE_BYTES * vocabulary)
    # An embedder's first long text brings room for the logits and vector of each of its tokens.
    outputs = 4 * options.ubatch * (vocabulary + model.n_embd) if options.pooling else 0
    return (
        Need(Use.SERVER, itself + requests),
        Need(Use.CHECKPOINTS, kept, phase="running"),
        *((Need(Use.OUTPUTS, outputs, phase="running"),) if outputs else ()),
    )


class EngineServer:
    """The server, answering until the process ends. Raises what reading the model raised, or EngineError.

    Its constructor loads the model and holds the interpreter's lock meanwhile: no other thread runs.
    """

    def __init__(self, arrangement: Arrangement, serving: Serving) -> None:
        self._arrangement = arrangement
        self._library = load_library()
        stream = ModelStream(arrangement.model, page=arrangement.pager is not None)
        try:
            self._server = self._serve(stream, serving)
        except RuntimeError as error:
            raise self._explain(stream) from error
        finally:
            stream.close()
        if arrangement.pager is not None:
            arrangement.pager.require_placed()
        give_back()

    def counters(self) -> Counters | None:
        """What the pager did; None when unpaged."""
        return self._arrangement.pager.counters() if self._arrangement.pager else None

    def take_failure(self) -> SixgigError | None:
        """The read that failed since the last call."""
        return self._arrangement.pager.take_failure() if self._arrangement.pager else None

    def _serve(self, stream: ModelStream, serving: Serving) -> Any:
        import xllamacpp

        params, _overrides = model_params(self._library, self._arrangement.options, self._arrangement.pager)
        native, loader = load_native(), open_server_loader()
        params.progress_callback = ctypes.cast(loader.sixgig_report_loading, PROGRESS_CALLBACK)
        self._load = ServerLoad(
            source=stream.source(),
            params=ctypes.addressof(params),
            report_fd=serving.report_fd,
            weights_allocated=address_of(native.sixgig_advise_huge_pages),
            decode=address_of(self._library.c.llama_decode),
            set_threads=address_of(self._library.c.llama_set_n_threads),
        )
        if not self._arrangement.options.threads:
            self._load.choose_threads = CHOOSE_THREADS(ThreadCount(usable_cores()).now)
        loader.sixgig_prepare_server_load(self._load)
        if not loader.sixgig_prepare_messages(self._library.c._handle):
            raise EngineError(
                "the server's loader does not match the engine", "a function of it is missing", CURE
            )
        guard_grammars(loader, self._library.c)
        self._library.log.detach()
        server = xllamacpp.Server(self._parameters(xllamacpp, serving))
        if self._load.calls != 1:
            raise EngineError("the server did not load its model through us", f"{self._load.calls} loads")
        return server

    def _parameters(self, xllamacpp: Any, serving: Serving) -> Any:
        options, params = self._arrangement.options, xllamacpp.CommonParams()
        params.hostnames, params.port = [str(serving.socket)], 0
        params.model.path, params.model_alias = str(self._arrangement.model.parts[0]), {serving.name}
        params.verbosity = ONLY_ERRORS
        _apply_options(params, xllamacpp, options)
        _bound_memory(params)
        _close_doors(params)
        adapter = self._arrangement.adapter
        if adapter is not None:
            lora = xllamacpp.CommonAdapterLoraInfo()
            lora.path, lora.scale = str(adapter.file.path), adapter.scale
            params.lora_adapters = [lora]
        return params

    def _explain(self, stream: ModelStream) -> SixgigError:
        failure = stream.take_failure() or self.take_failure()
        return failure or EngineError(
            f"the engine's server does not start with {self._arrangement.model.name}",
            cure="sixgig run tries the same model without a server",
        )


def _apply_options(params: Any, xllamacpp: Any, options: EngineOptions) -> None:
    """The context, as EngineOptions.apply_to_context fills it for a plan."""
    params.n_ctx, params.n_parallel, params.kv_unified = options.total_context, options.sequences, False
    params.n_batch = params.n_ubatch = options.ubatch
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.thread_count
    params.cache_type_k = xllamacpp.ggml_type(KV_TYPES[options.type_k])
    params.cache_type_v = xllamacpp.ggml_type(KV_TYPES[options.type_v])
    params.flash_attn_type = xllamacpp.llama_flash_attn_type(FLASH_ATTENTION[options.flash_attention])
    params.no_kv_offload = options.gpu_layers == 0
    params.no_op_offload = options.gpu_layers == 0 or not options.offload_products
    params.swa_full = False
    if options.pooling is not None:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type(POOLING[options.pooling])


def _bound_memory(params: Any) -> None:
    """What the server would otherwise choose by itself."""
    params.cache_ram_mib, params.cache_idle_slots = 0, False
    params.n_ctx_checkpoints = CHECKPOINTS
    params.n_threads_http = params.n_parallel + SPARE_THREADS
    params.fit_params = params.warmup = False


def _close_doors(params: Any) -> None:
    """Pages and endpoints that nobody behind the gateway needs, some of which show prompts."""
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    params.server_tools, params.ui_mcp_proxy, params.offline = [], False, True
