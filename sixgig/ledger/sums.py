"""A sum that says how much of the truth it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Figure = TypeVar("Figure", int, float)


@dataclass(frozen=True)
class Sum(Generic[Figure]):
    """Over `of` rows that should have the figure; total: of the `measured` ones that do, None without any.

    estimated: how many of those rest on an estimate.
    """

    total: Figure | None
    measured: int
    of: int
    estimated: int = 0

    @property
    def complete(self) -> bool:
        """Whether no row lacks the figure."""
        return self.measured == self.of


def sum_columns(column: str, applies: str = "TRUE", estimated: str = "FALSE") -> str:
    """SQL: the four columns that Sum(*columns) takes. applies: which rows should have the figure."""
    return (
        f"SUM({column}), COUNT({column}), COUNT(CASE WHEN {column} IS NOT NULL OR ({applies}) THEN 1 END), "
        f"COUNT(CASE WHEN {column} IS NOT NULL AND ({estimated}) THEN 1 END)"
    )
