"""What flows through a graph while it is computed: ggml's evaluation callback as calls of a Python observer.

Covers products with weights, the weighted outputs of routed experts and the stream after each layer, in main
memory. Does not cover data on a GPU. Node names are those that llama.cpp's graph builder gives.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from ctypes import CFUNCTYPE, c_bool, c_char, c_int64, c_size_t, c_uint8, c_void_p
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import EngineError
from sixgig.llamacpp.graph import operation
from sixgig.llamacpp.pin import BUILD, CURE_DAMAGED
from sixgig.llamacpp.structs import InitParams, Tensor

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
_DTYPES: dict[int, type[Any]] = {0: np.float32, 1: np.float16, 26: np.int32}  # by ggml_type
_CALLBACK = CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)
_OBJECT_BYTES = 32  # ggml_object, which precedes each tensor in its context
_WEIGHTED, _STREAM = b"ffn_moe_weighted-", b"l_out-"


@dataclass(frozen=True)
class Product:
    """One product of inputs with a weight.

    inputs: float32 [tokens, n_in] for one matrix, else [tokens, slots, n_in]; with ids, int32 [tokens, used],
    row (t, i) meets matrix ids[t, i] and is inputs[t, i], or inputs[t, 0] where there is one slot only.
    source: equal for two products of one evaluation that read the same inputs by the same ids.
    The arrays are read-only and valid during the call only.
    """

    weight: str
    inputs: Floats
    ids: Ids | None
    source: tuple[int, int]


class Observer(Protocol):
    """Who is told. What it raises ends the evaluation and comes out of Engine.feed()."""

    @property
    def weights(self) -> Collection[str]:
        """Names of the weights whose inputs are wanted."""

    def begin(self) -> None:
        """An evaluation begins."""

    def product(self, product: Product) -> None:
        """A product with one of `weights` was computed."""

    def weighted(self, layer: int, outputs: Floats, ids: Ids) -> None:
        """A layer's expert outputs times their gates, [tokens, n_used, n_embd], and the experts' ids.

        Not told by families that weight the experts' inputs instead.
        """

    def stream(self, layer: int, values: Floats) -> None:
        """The residual stream after a layer, [tokens, n_embd]."""


class Observation:
    """Hands an observer what a context computes; `callback` is its cb_eval. One evaluation at a time.

    Raises EngineError when the library's tensors are laid out differently.
    """

    def __init__(self, c: ctypes.CDLL, observer: Observer) -> None:
        check_tensor_layout(c)
        self._c, self._observer = c, observer
        self._is_host = _function(c, "ggml_backend_buffer_is_host", c_bool, c_void_p)
        self._product, self._routed = (operation(c, name) for name in (b"MUL_MAT", b"MUL_MAT_ID"))
        self._weights = frozenset(name.encode() for name in observer.weights)
        self._ids: dict[int, Ids] = {}
        self._error: BaseException | None = None
        self.callback = _CALLBACK(self._called)

    def begin(self) -> None:
        """Call before an evaluation."""
        self._ids.clear()
        self._error = None
        self._observer.begin()

    def take_error(self) -> BaseException | None:
        """What an observer raised during the evaluation, once; its results are incomplete then."""
        error, self._error = self._error, None
        return error

    def _called(self, address: int, ask: bool, _user_data: Any) -> bool:
        """The protocol: asked, whether this node is wanted; told, whether to go on.

        After an error every node is wanted: the engine then stops after the first of each split.
        """
        if self._error is not None:
            return ask
        try:
            node = Tensor.from_address(address)
            tell = self._teller(node)
            if not ask and tell is not None:
                tell(node)
        except BaseException as error:
            self._error = error
            return ask
        return tell is not None or not ask

    def _teller(self, node: Tensor) -> Callable[[Tensor], None] | None:
        """Who reports this node; None for one that nobody wants."""
        if node.op == self._product:
            return self._tell_product if source_of(node, 0).name in self._weights else None
        if node.op == self._routed:
            return self._tell_routed
        if node.name.startswith(_WEIGHTED):
            return self._tell_weighted
        return self._tell_stream if node.name.startswith(_STREAM) else None

    def _tell_product(self, node: Tensor) -> None:
        weight, source = source_of(node, 0), source_of(node, 1)
        values = self._floats(source)  # [1, matrices or batches, tokens, n_in]
        if weight.ne[2] == 1:
            self._tell(node, values.reshape(-1, source.ne[0]), None)
        elif source.ne[3] == 1 and source.ne[2] == weight.ne[2]:
            ids = np.broadcast_to(np.arange(weight.ne[2], dtype=np.int32), (source.ne[1], weight.ne[2]))
            self._tell(node, values[0].transpose(1, 0, 2), ids)
        else:
            raise _unreadable(weight, f"matrices {list(weight.ne)}, inputs {list(source.ne)}")

    def _tell_routed(self, node: Tensor) -> None:
        ids = np.ascontiguousarray(self._array(source_of(node, 2))[0, 0])
        if (layer := _layer(node.name)) is not None:
            self._ids[layer] = ids
        if source_of(node, 0).name in self._weights:
            self._tell(node, self._floats(source_of(node, 1))[0], ids)

    def _tell(self, node: Tensor, inputs: Floats, ids: Ids | None) -> None:
        if inputs.size:
            weight = source_of(node, 0).name.decode()
            self._observer.product(Product(weight, inputs, ids, (node.src[1], node.src[2] or 0)))

    def _tell_weighted(self, node: Tensor) -> None:
        """Ids seen earlier in this evaluation belong to the outputs; without them these are inputs."""
        layer = _layer(node.name)
        if layer in self._ids and node.ne[2]:
            self._observer.weighted(layer, self._floats(node)[0], self._ids[layer])

    def _tell_stream(self, node: Tensor) -> None:
        layer = _layer(node.name)
        if layer is not None and node.ne[1]:
            self._observer.stream(layer, self._floats(node).reshape(-1, node.ne[0]))

    def _floats(self, tensor: Tensor) -> Floats:
        """The tensor as float32, converted only where it is of another type."""
        return self._array(tensor).astype(np.float32, copy=False)

    def _array(self, tensor: Tensor) -> NDArray[Any]:
        """A read-only view [ne3, ne2, ne1, ne0]."""
        dtype = _DTYPES.get(tensor.type)
        if dtype is None:
            raise _unreadable(tensor, f"its type is {tensor.type}")
        owner = Tensor.from_address(tensor.view_src) if tensor.view_src else tensor
        if not tensor.data or not owner.buffer or not self._is_host(owner.buffer):
            raise _unreadable(tensor, "it is not in main memory")
        shape, strides = tuple(reversed(tensor.ne)), tuple(reversed(tensor.nb))
        last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        memory = (c_uint8 * (max(last, 0) + np.dtype(dtype).itemsize)).from_address(tensor.data)
        array = np.ndarray(shape, dtype, memory, strides=strides)
        array.flags.writeable = False
        return array


def check_tensor_layout(c: ctypes.CDLL) -> None:
    """EngineError unless a product built by the library reads back, field by field, as Tensor declares."""
    memory = ctypes.create_string_buffer(1 << 16)
    context = c.ggml_init(InitParams(len(memory), ctypes.addressof(memory), False))
    try:
        problems = _layout_problems(c, context, memory)
    finally:
        c.ggml_free(context)
    if problems:
        what = f"the llama.cpp library's tensors are laid out differently from build {BUILD}"
        raise EngineError(what, ", ".join(problems), CURE_DAMAGED)


def _layout_problems(c: ctypes.CDLL, context: int, memory: ctypes.Array[c_char]) -> list[str]:
    """Names of the fields that do not read as built."""
    weight, inputs = (c.ggml_new_tensor_2d(context, 0, 3, rows) for rows in (5, 7))
    _function(c, "ggml_set_name", c_void_p, c_void_p, ctypes.c_char_p)(weight, b"a name")
    node = c.ggml_mul_mat(context, weight, inputs)
    view = _function(c, "ggml_view_1d", c_void_p, c_void_p, c_void_p, c_int64, c_size_t)(
        context, weight, 2, 12
    )
    first, product, part = (Tensor.from_address(address) for address in (weight, node, view))
    start = ctypes.addressof(memory)
    fits = {
        "size": c.ggml_tensor_overhead() == ctypes.sizeof(Tensor) + _OBJECT_BYTES,
        "type": first.type == 0 and not first.buffer,
        "ne": list(first.ne) == [3, 5, 1, 1] and list(product.ne) == [5, 7, 1, 1],
        "nb": list(first.nb) == [4, 12, 60, 60],
        "op": first.op == 0 and product.op == operation(c, b"MUL_MAT"),
        "src": list(product.src[:3]) == [weight, inputs, None],
        "view_src": part.view_src == weight and part.view_offs == 12 and not first.view_src,
        "data": start < first.data < start + len(memory) and part.data == first.data + 12,
        "name": first.name == b"a name",
    }
    return [field for field, right in fits.items() if not right]


def _function(c: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    if not hasattr(c, name):
        raise EngineError("the llama.cpp library lacks functions we call", f"missing: {name}", CURE_DAMAGED)
    address = ctypes.cast(getattr(c, name), c_void_p).value
    assert address is not None
    function: Callable[..., Any] = CFUNCTYPE(result, *arguments)(address)
    return function


def source_of(node: Tensor, number: int) -> Tensor:
    """What a node is computed from."""
    return Tensor.from_address(node.src[number])


def _layer(name: bytes) -> int | None:
    """The layer a node's name ends with, "l_out-12"."""
    digits = name.rpartition(b"-")[2]
    return int(digits) if digits.isdigit() else None


def _unreadable(tensor: Tensor, numbers: str) -> EngineError:
    name = tensor.name.decode(errors="replace")
    return EngineError(f"{name} cannot be observed", numbers, "run the model on the CPU, with --vram 0")
