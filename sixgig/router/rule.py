"""One rule of the owner's: when a request may leave, and where to."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Condition = Literal[
    "model_missing",
    "context_overflow",
    "queue_longer_than",
    "first_token_slower_than",
    "local_failed_before_first_token",
]
_MEASURED = ("queue_longer_than", "first_token_slower_than")


class Rule(BaseModel):
    """`[[rules]]` of the configuration; tried in the order of the file.

    value: requests for queue_longer_than, seconds for first_token_slower_than, refused elsewhere.
    models: names as asked, with * ? and [] as in file names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    when: Condition
    value: int | float | None = None
    models: tuple[str, ...] = Field(default=("*",), min_length=1, strict=False)
    upstream: str

    @model_validator(mode="after")
    def _value_where_one_is_due(self) -> Self:
        if self.when not in _MEASURED:
            if self.value is not None:
                raise ValueError(f"{self.when} takes no value; found {self.value:g}; remove it")
        elif self.value is None:
            unit = "requests" if self.when == "queue_longer_than" else "seconds"
            raise ValueError(f"{self.when} needs a value, in {unit}")
        elif self.when == "queue_longer_than" and not (isinstance(self.value, int) and self.value >= 0):
            raise ValueError(
                f"queue_longer_than needs a whole number of requests, 0 or more; found {self.value:g}"
            )
        elif self.when == "first_token_slower_than" and not 0 < self.value <= 86400:
            raise ValueError(
                f"first_token_slower_than needs seconds, above 0, at most 86400; found {self.value:g}"
            )
        return self

    def concerns(self, model: str) -> bool:
        """Is it a rule for this model?"""
        return any(model == pattern or fnmatchcase(model, pattern) for pattern in self.models)

    def __str__(self) -> str:
        return self.when if self.value is None else f"{self.when} {self.value:g}"
