"""A job as one calls it from Python: the fields of its request are the arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

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
    enter.__signature__ = _signature(request, get_type_hints(job)["return"])  # type: ignore[attr-defined]
    return enter


def _signature(request: Callable[..., Any], returned: Any) -> inspect.Signature:
    """As help() shows it: with types rather than their names in quotes, the reporter last."""
    types, made = get_type_hints(request), inspect.signature(request)
    shown = (one.replace(annotation=types[name]) for name, one in made.parameters.items())
    last = sorted(shown, key=lambda one: (one.kind, one.name == "reporter"))
    return made.replace(parameters=last, return_annotation=returned)
