"""An observer that keeps copies of everything it is told."""

import numpy as np

from sixgig.llamacpp.observe import Product


class Capture:
    def __init__(self, model):
        self.weights = [tensor.name for tensor in model.tensors]
        self.products: list[tuple[str, np.ndarray, np.ndarray | None, tuple[int, int]]] = []
        self.outputs: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.streams: list[tuple[int, np.ndarray]] = []
        self.evaluations = 0

    def begin(self):
        self.evaluations += 1

    def product(self, product: Product):
        ids = None if product.ids is None else product.ids.copy()
        self.products.append((product.weight, product.inputs.copy(), ids, product.source))

    def weighted(self, layer, outputs, ids):
        self.outputs.append((layer, outputs.copy(), ids.copy()))

    def stream(self, layer, values):
        self.streams.append((layer, values.copy()))

    def inputs(self, weight, matrix=0):
        """Every row a matrix met, in the order of the tokens, [n, n_in]."""
        found = [self._rows(inputs, ids, matrix) for name, inputs, ids, _ in self.products if name == weight]
        return np.concatenate(found)

    @staticmethod
    def _rows(inputs, ids, matrix):
        if ids is None:
            return inputs
        pairs = [(t, i) for t in range(len(ids)) for i in range(ids.shape[1]) if ids[t, i] == matrix]
        rows = [inputs[t, i if inputs.shape[1] > 1 else 0] for t, i in pairs]
        return np.array(rows, np.float32).reshape(len(rows), inputs.shape[2])
