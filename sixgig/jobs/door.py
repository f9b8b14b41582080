"""A job as one calls it from Python: the fields of its request are the arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def door(request: Callable[P, R], job: Callable[[R], T]) -> Callable[P, T]:
    """`job` as a function of what its request is made of; help() shows both docstrings and all arguments."""

    @functools.wraps(job)
    def enter(*arguments: P.args, **options: P.kwargs) -> T:
        return job(request(*arguments, **options))

    enter.__name__ = enter.__qualname__ = job.__name__.lstrip("_")
    enter.__doc__ = f"{inspect.getdoc(job)}\n\nArguments. {inspect.getdoc(request)}"
    returned = inspect.signature(job).return_annotation
    enter.__signature__ = inspect.signature(request).replace(return_annotation=returned)  # type: ignore[attr-defined]
    return enter
