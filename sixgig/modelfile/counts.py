"""A model's counts by their short names, each checked as it is read."""

from dataclasses import dataclass

from sixgig.errors import ModelFileError
from sixgig.modelfile.metadata import Metadata


@dataclass(frozen=True)
class Counts:
    """Integers under "ARCHITECTURE.name"; ModelFileError names the key that is missing or out of range."""

    metadata: Metadata
    architecture: str

    def __contains__(self, name: str) -> bool:
        return f"{self.architecture}.{name}" in self.metadata

    def number(self, name: str, default: float) -> float:
        """A number of any kind."""
        value = self.metadata.get(f"{self.architecture}.{name}")
        if value is None:
            return default
        if isinstance(value, str):
            raise self.error(name, "it is text")
        return value

    def one(self, name: str, lowest: int, highest: int, default: int | None = None) -> int:
        """A count in [lowest, highest]."""
        value = self.metadata.integer(f"{self.architecture}.{name}")
        return self.checked(name, default if value is None else value, lowest, highest)

    def most(self, name: str, n_layers: int, lowest: int, highest: int) -> int:
        """The largest of a count given for all layers or for each; 0 when absent."""
        value = self.metadata.integers(f"{self.architecture}.{name}")
        if not isinstance(value, list):
            return self.checked(name, 0 if value is None else value, lowest, highest)
        self.checked(name + " (its length)", len(value), n_layers, n_layers)
        self.checked(name, min(value), 0, highest)
        return self.checked(name, max(value), lowest, highest)

    def checked(self, name: str, value: int | None, lowest: int, highest: int) -> int:
        """`value`, which must be there and in [lowest, highest]."""
        if value is None:
            raise self.error(name, "missing")
        if not lowest <= value <= highest:
            raise self.error(name, f"{value}, must be {lowest} to {highest}")
        return value

    def require(self, holds: bool, name: str, numbers: str) -> None:
        """ModelFileError naming the key unless `holds`."""
        if not holds:
            raise self.error(name, numbers)

    def error(self, name: str, numbers: str) -> ModelFileError:
        """The error that names the key."""
        what = f"{self.metadata.path.name}: {self.architecture}.{name} is not usable"
        return ModelFileError(what, numbers, "fetch or convert the file again")
