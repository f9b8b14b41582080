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

    def says(self, name: str) -> bool:
        """Is it there and not 0? The engine writes what a model has not as 0, and reads 0 as not there."""
        return bool(self.number(name, default=0))

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

    def most(self, name: str, n_layers: int, highest: int) -> int:
        """The largest of a count in [0, highest] given for all layers or for each; 0 when absent."""
        return max(self.each(name, n_layers, highest, (0,)))

    def each(self, name: str, n_layers: int, highest: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """A count in [0, highest] for each layer, given for each or once for all."""
        value = self.metadata.integers(f"{self.architecture}.{name}")
        if value is None:
            return default
        if isinstance(value, int):
            return (self.checked(name, value, 0, highest),) * n_layers
        self.checked(name + " (its length)", len(value), n_layers, n_layers)
        return tuple(self.checked(name, count, 0, highest) for count in value)

    def is_array(self, name: str) -> bool:
        """Whether it is given as an array of one element or more."""
        return self.metadata.count(f"{self.architecture}.{name}") > 0

    def flags(self, name: str, n_layers: int) -> tuple[bool, ...]:
        """A yes or no for each layer, as booleans or as 0 and 1, or one for all; empty when absent or an
        array without an element."""
        key = f"{self.architecture}.{name}"
        length = self.metadata.count(key)
        if not length:
            one = None if self.metadata.is_array(key) else self.metadata.integer(key)
            return () if one is None else (one != 0,) * n_layers
        self.checked(name + " (its length)", length, n_layers, n_layers)
        values = self.metadata.array(key)
        self.require(all(value in (0, 1) for value in values), name, "not all of it is yes or no")
        return tuple(bool(value) for value in values)

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
        what = f"{self.metadata.source.name}: {self.architecture}.{name} is not usable"
        return ModelFileError(what, numbers, "fetch or convert the file again")
