"""How fast the engine's own kernels multiply on this machine, type by type.

Measured on ggml's CPU backend itself: products with one row of input (decoding), each with another matrix, so
that the weights come from memory, and one product with many rows (a prompt). In the stored layout, and in the
repacked one where the engine has it for the type.

Beside other work all threads wait for the one that shares its core, a hundred times a token: seen, a tenth of
the speed that one thread alone had. So there the threads are as many as others leave cores, the quickest of
some tries counts (of one thread by its own processor time, in which nobody interrupts it), and the speed is
that times all cores over those threads: an estimate, kept only until the machine is idle.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import EngineError
from sixgig.hardware import usable_cores
from sixgig.hardware.conditions import LOOK_S
from sixgig.hardware.cores import threads_beside
from sixgig.hardware.load import others_now
from sixgig.hardware.machine import Kernels, KernelSpeed
from sixgig.inference.threads import SHARED
from sixgig.llamacpp import WHEEL_VERSION, InitParams, load_library
from sixgig.modelfile import TYPE_BY_NAME, GgmlType
from sixgig.planning.nominal import NOMINAL_CORE

MEASURED_TYPES = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS",
    "MXFP4", "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S",
)  # fmt: skip
WEIGHTS_BYTES = 64 << 20  # more than the last-level cache of most machines
N_IN, N_OUT = 2048, 2048
SHORT = 4  # rows that many times shorter, and more of them, tell what a row costs
ROW_TYPE = "Q4_K"
PROMPT_TOKENS = 256
STEPS, STEP_WIDTH = 400, 2048
ROUNDS = 2  # over all types: a machine that others share too is not equally quick all the time
_REPEATS = 3
NEEDED_BYTES = 192 << 20  # free memory, to be safe: matrices, their repacked twin, and what fills them
_SCALE = 0x11  # bytes of the weights: as a scale a small normal number, since denormal ones would be slow
_CPU, _F32 = 0, 0


@dataclass(frozen=True)
class _Shape:
    """n_matrices of n_in x n_out, each multiplied with the same n_tokens rows."""

    n_in: int
    n_out: int
    n_matrices: int
    n_tokens: int

    @property
    def n_products(self) -> int:
        """Weights times rows."""
        return self.n_in * self.n_out * self.n_matrices * self.n_tokens


def measure_kernels(
    threads: int,
    types: tuple[str, ...] = MEASURED_TYPES,
    progress: Callable[[float], object] = lambda fraction: None,
) -> Kernels:
    """Speeds of `types` on `threads` threads; some seconds, within NEEDED_BYTES. Raises EngineError.

    progress: is told the fraction done; what it raises ends the measurement.
    """
    cores = usable_cores()
    others = others_now(cores.cpus, LOOK_S)
    if others >= SHARED:
        return _beside(threads, min(threads, threads_beside(cores, others)), types, progress)
    with _bench(threads) as bench:
        found = list(bench.speeds(types * ROUNDS, progress))
        speeds = tuple(_combined(found[number :: len(types)], fmean) for number in range(len(types)))
        return Kernels(WHEEL_VERSION, threads, bench.step_seconds(), bench.row_seconds(), N_IN, speeds)


def _beside(threads: int, free: int, types: tuple[str, ...], progress: Callable[[float], object]) -> Kernels:
    """What `threads` would do, by what `free` of them do beside other work."""
    with _bench(free, min, time.thread_time if free == 1 else time.perf_counter) as bench:
        scaled = tuple(_scaled(speed, threads / free) for speed in bench.speeds(types, progress))
        step_s = max(bench.step_seconds(), NOMINAL_CORE.step_s)  # of one thread alone, without a meeting
        return Kernels(WHEEL_VERSION, threads, step_s, bench.row_seconds() * free / threads, N_IN, scaled)


@contextmanager
def _bench(
    threads: int,
    typical: Callable[[list[float]], float] = median,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[_Bench]:
    c = load_library().c
    backend = c.ggml_backend_init_by_type(_CPU, None)
    if not backend:
        raise EngineError("the engine has no CPU backend")
    try:
        c.ggml_backend_cpu_set_n_threads(backend, threads)
        yield _Bench(c, backend, typical, clock)
    finally:
        c.ggml_backend_free(backend)


class _Bench:
    """Builds small graphs on one CPU backend and times them. typical: which of some times counts."""

    def __init__(
        self,
        c: ctypes.CDLL,
        backend: int,
        typical: Callable[[list[float]], float],
        clock: Callable[[], float],
    ) -> None:
        self._c, self._backend, self._typical, self._clock = c, backend, typical, clock
        self._device: int = c.ggml_backend_get_device(backend)
        self._plain: int = c.ggml_backend_cpu_buffer_type()
        self._repacking = self._extra_buffer_types()
        self._random = np.random.default_rng(0)

    def speeds(self, types: Sequence[str], progress: Callable[[float], object]) -> Iterator[KernelSpeed]:
        """Weights per second of each type."""
        for number, name in enumerate(types):
            progress(number / len(types))
            yield self._speed(TYPE_BY_NAME[name])

    def _speed(self, kind: GgmlType) -> KernelSpeed:
        shapes = (_decoding(kind), _Shape(N_IN, N_OUT, 1, PROMPT_TOKENS))
        plain = [self._rate(kind, shape, self._plain) for shape in shapes]
        repacked = [
            max((self._rate(kind, shape, buffer_type) for buffer_type in self._repacking), default=0.0)
            for shape in shapes
        ]
        return KernelSpeed(kind.name, *plain, *repacked)

    def row_seconds(self) -> float:
        """From the same number of weights in long and in short rows."""
        kind = TYPE_BY_NAME[ROW_TYPE]
        long = _decoding(kind)
        short = _Shape(long.n_in // SHORT, long.n_out * SHORT, long.n_matrices, 1)
        seconds = [shape.n_products / self._rate(kind, shape, self._plain) for shape in (long, short)]
        return max(0.0, seconds[1] - seconds[0]) / (long.n_matrices * (short.n_out - long.n_out))

    def step_seconds(self) -> float:
        """What a small graph node costs: starting it, some additions, all threads meeting after it."""
        with self._context(STEPS + 2) as context:
            first = node = self._c.ggml_new_tensor_2d(context, _F32, STEP_WIDTH, 1)
            for _ in range(STEPS):
                node = self._c.ggml_add(context, node, first)
            return self._seconds(context, [node], lambda: None) / STEPS

    def _rate(self, kind: GgmlType, shape: _Shape, buffer_type: int) -> float:
        """Weights times tokens per second; 0 where `buffer_type` has no layout for the type."""
        with self._context(shape.n_matrices + 1) as stored:
            weights = self._weights(stored, kind, shape)
            buffer = self._c.ggml_backend_alloc_ctx_tensors_from_buft(stored, buffer_type)
            if not buffer:
                return 0.0
            try:
                return self._timed(weights, shape)
            finally:
                self._c.ggml_backend_buffer_free(buffer)

    def _weights(self, context: int, kind: GgmlType, shape: _Shape) -> list[int]:
        new = self._c.ggml_new_tensor_2d
        return [new(context, kind.id, shape.n_in, shape.n_out) for _ in range(shape.n_matrices)]

    def _timed(self, weights: list[int], shape: _Shape) -> float:
        with self._context(shape.n_matrices + 2) as context:
            inputs = self._c.ggml_new_tensor_2d(context, _F32, shape.n_in, shape.n_tokens)
            products = [self._c.ggml_mul_mat(context, one, inputs) for one in weights]
            if not self._c.ggml_backend_dev_supports_op(self._device, products[0]):
                return 0.0
            for one in weights:
                self._set(one, np.full(self._c.ggml_nbytes(one), _SCALE, np.uint8))
            values = self._random.standard_normal(shape.n_in * shape.n_tokens, np.float32)
            return shape.n_products / self._seconds(context, products, lambda: self._set(inputs, values))

    def _set(self, tensor: int, values: NDArray[np.generic]) -> None:
        values = np.ascontiguousarray(values)
        self._c.ggml_backend_tensor_set(tensor, values.ctypes.data, 0, values.nbytes)

    def _seconds(self, context: int, nodes: list[int], feed: Callable[[], None]) -> float:
        """The typical of a few runs of the graph of `nodes`, after one that does not count."""
        graph = self._c.ggml_new_graph_custom(context, 4 * len(nodes) + STEPS + 8, False)
        for node in nodes:
            self._c.ggml_build_forward_expand(graph, node)
        buffer = self._c.ggml_backend_alloc_ctx_tensors(context, self._backend)
        try:
            feed()
            return self._typical([self._once(graph) for _ in range(1 + _REPEATS)][1:])
        finally:
            self._c.ggml_backend_buffer_free(buffer)

    def _once(self, graph: int) -> float:
        begin = self._clock()
        if self._c.ggml_backend_graph_compute(self._backend, graph):
            raise EngineError("the engine cannot compute a product")
        return self._clock() - begin

    @contextmanager
    def _context(self, n_tensors: int) -> Iterator[int]:
        """A ggml context for the descriptions of that many tensors and a graph of them."""
        graph = self._c.ggml_graph_overhead() + 64 * (4 * n_tensors + STEPS)
        size = n_tensors * self._c.ggml_tensor_overhead() + graph
        context = self._c.ggml_init(InitParams(size, None, True))
        try:
            yield context
        finally:
            self._c.ggml_free(context)

    def _extra_buffer_types(self) -> list[int]:
        """The layouts the CPU backend repacks weights into."""
        registry = self._c.ggml_backend_dev_backend_reg(self._device)
        address = self._c.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        if not address:
            return []
        found = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(address)(self._device)
        types: list[int] = []
        while found and found[len(types)]:
            types.append(found[len(types)])
        return types


_SPEEDS = ("decode", "prompt", "repacked_decode", "repacked_prompt")


def _combined(found: Sequence[KernelSpeed], combine: Callable[[list[float]], float]) -> KernelSpeed:
    """One type's speeds, each of its rounds together."""
    return KernelSpeed(
        found[0].type, *(combine([getattr(speed, name) for speed in found]) for name in _SPEEDS)
    )


def _scaled(speed: KernelSpeed, factor: float) -> KernelSpeed:
    return KernelSpeed(speed.type, *(factor * getattr(speed, name) for name in _SPEEDS))


def _decoding(kind: GgmlType) -> _Shape:
    row_bytes = N_IN // kind.block_elements * kind.block_bytes
    return _Shape(N_IN, N_OUT, max(2, WEIGHTS_BYTES // (row_bytes * N_OUT)), 1)
