"""A model's tensors, ticked off as blocks take them: none may be missing, none may be left over."""

from __future__ import annotations

from sixgig.errors import ModelFileError
from sixgig.modelfile import ModelFile

ANY = -1  # an extent that may have any length
_CURE = "tuning needs the tensors that llama.cpp's converter writes"


def uncovered(model: ModelFile, key: str, value: object, covered: str) -> ModelFileError:
    """The error for a setting, "ARCHITECTURE.key", that llama.cpp would heed and tuning does not compute."""
    numbers = f"{model.architecture}.{key} is {str(value)[:80]}, only {covered} is covered"
    return ModelFileError(f"{model.name} cannot be tuned", numbers, "tune another model")


class Claims:
    """Names in, names out; shapes are in ne order (n_in first)."""

    def __init__(self, model: ModelFile) -> None:
        self._shapes = {tensor.name: tensor.shape for tensor in model.tensors}
        n_layers = model.n_layers - model.hyperparameters.n_prediction_layers
        self._left = {t.name for t in model.tensors if t.layer is None or t.layer < n_layers}

    def __contains__(self, name: str) -> bool:
        """Whether the model has this tensor."""
        return name in self._shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """Its shape; ModelFileError where it is missing."""
        if name not in self._shapes:
            raise ModelFileError(f"{name} is missing", cure=_CURE)
        return self._shapes[name]

    def need(self, name: str, *shape: int) -> str:
        """The name; ModelFileError unless there is such a tensor of this shape."""
        found = self.shape(name)
        fits = len(found) == len(shape) and all(
            length in (ANY, there) for length, there in zip(shape, found, strict=True)
        )
        if not fits:
            wanted = tuple("any" if length == ANY else length for length in shape)
            raise ModelFileError(f"{name} has a wrong shape", f"{found}, must be {wanted}", _CURE)
        self._left.discard(name)
        return name

    def linear(self, name: str, n_in: int, n_out: int, biased: bool = False) -> tuple[str, ...]:
        """The weight `name`.weight and, where there is one and it may be, its bias."""
        names = [self.need(f"{name}.weight", n_in, n_out)]
        if biased and f"{name}.bias" in self:
            names.append(self.need(f"{name}.bias", n_out))
        return tuple(names)

    def require_all_taken(self) -> None:
        """ModelFileError naming the first tensor of a layer that runs, or outside, which nobody took."""
        left = [name for name in self._shapes if name in self._left]
        if left:
            what = f"{left[0]} is nothing that tuning knows how to compute with"
            raise ModelFileError(what, f"{len(left)} such tensors", _CURE)
