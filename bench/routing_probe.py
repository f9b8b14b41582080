"""Listens to a running graph: which experts each layer chose, and what its router read."""

from __future__ import annotations

import ctypes
import re
from collections import defaultdict
from ctypes import CFUNCTYPE, POINTER, c_bool, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

from sixgig.llamacpp.structs import Tensor

CHOSEN = "ffn_moe_topk"
_I32, _F32 = 26, 0


EVAL_CALLBACK = CFUNCTYPE(c_bool, POINTER(Tensor), c_bool, c_void_p)


class RoutingProbe:
    """Keeps the rows of every graph node named CHOSEN-<layer> or `router_input`-<layer>.

    chosen[layer]: rows of expert ids, most likely first; inputs[layer]: rows of the router's input.
    """

    def __init__(self, router_input: str) -> None:
        self.chosen: dict[int, list[npt.NDArray[np.int32]]] = defaultdict(list)
        self.inputs: dict[int, list[npt.NDArray[np.float32]]] = defaultdict(list)
        self._names = re.compile(rf"({CHOSEN}|{router_input})-(\d+)")
        self._router_input = router_input
        self.callback = EVAL_CALLBACK(self._visit)

    def _visit(self, tensor: Any, ask: bool, _user_data: Any) -> bool:
        """llama.cpp asks first whether the node is wanted, then calls again with its data computed."""
        match = self._names.fullmatch(tensor.contents.name.decode())
        if ask or match is None:
            return match is not None or not ask
        kept: dict[int, list[Any]] = self.chosen if match[1] == CHOSEN else self.inputs
        kept[int(match[2])].extend(_rows(tensor.contents))
        return True


def _rows(tensor: Tensor) -> list[npt.NDArray[Any]]:
    """Copies of a two-dimensional host tensor's rows."""
    kind: Any = {_I32: ctypes.c_int32, _F32: ctypes.c_float}[tensor.type]
    starts = [tensor.data + row * tensor.nb[1] for row in range(tensor.ne[1])]
    return [np.ctypeslib.as_array(ctypes.cast(s, POINTER(kind)), (tensor.ne[0],)).copy() for s in starts]
