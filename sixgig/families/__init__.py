"""Every architecture the engine runs: what one means by its tensors, one file a family.

A family is found by its file's name, which is the architecture's with nothing but letters and digits
("ernie4_5-moe": ernie45moe.py, with a FAMILY). All others are read by the engine's vocabulary alone.
"""

import re
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sixgig.errors import ModelFileError
from sixgig.families.terms.blocks import Blocks
from sixgig.families.terms.cuts import DenseCuts, ExpertCuts, Freedom, SharedWidth
from sixgig.families.terms.family import Family, RouterRule, SlidingRule
from sixgig.families.terms.recipe import Recipe
from sixgig.families.terms.roles import Role


@cache
def families() -> dict[str, Family]:
    """All that have a declaration, by architecture."""
    names = sorted(module.name for module in iter_modules(__path__) if not module.ispkg)
    found = (_declaration(name) for name in names)
    return {one.architecture: one for one in found}


def family(architecture: str) -> Family:
    """The declaration of an architecture as GGUF names it, or what the engine's vocabulary says alone."""
    return families().get(architecture) or Family(architecture, declared=False)


@cache
def recipes() -> dict[str, Recipe]:
    """How checkpoints are converted, by what config.json calls their architecture."""
    return {name: recipe for one in families().values() for recipe in one.recipes for name in recipe.names}


def blocks(architecture: str) -> Blocks:
    """How its graph computes, which tuning must know; ModelFileError with the others where nobody says."""
    if (found := family(architecture).tuning) is not None:
        return found
    known = ", ".join(sorted(name for name, one in families().items() if one.tuning is not None))
    what = f"a model of architecture {architecture} cannot be tuned: no declaration of its blocks"
    cure = "where it generates text, it runs, serves, is measured, scored and quantised; tune one of these"
    raise ModelFileError(what, f"{known} have one", cure)


def _declaration(name: str) -> Family:
    declared: Family = import_module(f"{__name__}.{name}").FAMILY
    assert re.sub(r"[^a-z0-9]", "", declared.architecture) == name, f"{name}.py declares another"
    return declared


__all__ = [
    "DenseCuts",
    "ExpertCuts",
    "Family",
    "Freedom",
    "Role",
    "RouterRule",
    "SharedWidth",
    "SlidingRule",
    "blocks",
    "families",
    "family",
    "recipes",
]
