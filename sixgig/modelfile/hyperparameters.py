"""The numbers of a model that everyone needs, read once and checked.

Covers what llama.cpp would end the process over; what it refuses by itself is left to it.
"""

from dataclasses import dataclass

from sixgig.errors import ModelFileError
from sixgig.families import Family
from sixgig.modelfile.metadata import Metadata

MAX_LAYERS = 512  # llama.cpp's LLAMA_MAX_LAYERS
MAX_EXPERTS = 1024  # llama.cpp's LLAMA_MAX_EXPERTS
_MAX_LENGTH = 2**31 - 1


@dataclass(frozen=True)
class Hyperparameters:
    """Counts; `n_layers` includes the `n_prediction_layers` (multi-token prediction) at the end."""

    n_layers: int
    n_prediction_layers: int
    n_embd: int
    context_length: int
    n_experts: int
    n_experts_used: int


def read_hyperparameters(metadata: Metadata, family: Family) -> Hyperparameters:
    """The checked numbers; ModelFileError names the key that is missing or out of range."""
    counts = _Counts(metadata, family.architecture)
    n_layers = counts.one("block_count", 1, MAX_LAYERS)
    n_experts = counts.one("expert_count", 0, MAX_EXPERTS, default=0)
    counts.check_groups(n_experts)
    return Hyperparameters(
        n_layers=n_layers,
        n_prediction_layers=counts.one("nextn_predict_layers", 0, n_layers, default=0),
        n_embd=counts.one("embedding_length", 1, _MAX_LENGTH),
        context_length=counts.one("context_length", 1, _MAX_LENGTH),
        n_experts=n_experts,
        n_experts_used=counts.most("expert_used_count", n_layers, min(n_experts, 1), n_experts),
    )


@dataclass(frozen=True)
class _Counts:
    metadata: Metadata
    architecture: str

    def one(self, name: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A count in [lowest, highest]."""
        value = self.metadata.integer(f"{self.architecture}.{name}")
        return self._checked(name, default if value is None else value, lowest, highest)

    def most(self, name: str, n_layers: int, lowest: int, highest: int) -> int:
        """The largest of a count given for all layers or for each; 0 when absent."""
        value = self.metadata.integers(f"{self.architecture}.{name}")
        if not isinstance(value, list):
            return self._checked(name, 0 if value is None else value, lowest, highest)
        self._checked(name + " (its length)", len(value), n_layers, n_layers)
        self._checked(name, min(value), 0, highest)
        return self._checked(name, max(value), lowest, highest)

    def check_groups(self, n_experts: int) -> None:
        """Expert groups must divide the experts, and fewer groups must be used than there are."""
        n_groups = self.one("expert_group_count", 0, max(n_experts - 1, 0), default=0)
        if n_groups > 1:
            self.one("expert_group_used_count", 1, n_groups - 1, default=0)
            if n_experts % n_groups:
                raise self._error("expert_group_count", f"{n_groups} does not divide {n_experts} experts")

    def _checked(self, name: str, value: int | None, lowest: int, highest: int) -> int:
        if value is None:
            raise self._error(name, "missing")
        if not lowest <= value <= highest:
            raise self._error(name, f"{value}, must be {lowest} to {highest}")
        return value

    def _error(self, name: str, numbers: str) -> ModelFileError:
        what = f"{self.metadata.path.name}: {self.architecture}.{name} is not usable"
        return ModelFileError(what, numbers, "fetch or convert the file again")
