"""Which tensors a checkpoint gives, by its recipe: nothing left over, nothing missing among experts."""

from collections.abc import Iterable

from sixgig.checkpoint.completeness import check_complete, with_head
from sixgig.checkpoint.safetensors import Stored
from sixgig.checkpoint.target import Calculated, Converted, Target, converted
from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Recipe, Rule, pattern_of

_TEXT = "language_model."
Grouped = dict[str, tuple[Rule, dict[int | None, Stored]]]


def plan_targets(recipe: Recipe, config: Config, tensors: Iterable[Stored]) -> tuple[Target, ...]:
    """The tensors to write in order; layers behind the last, which predict further tokens, are left out."""
    grouped: Grouped = {}
    unknown: list[str] = []
    left_out: list[str] = []
    for tensor in tensors:
        name = tensor.name.replace(_TEXT, "")
        pattern, layer, expert = pattern_of(name)
        rules = recipe.by_source.get(pattern, [])
        if recipe.ignores(name) or (layer is not None and layer >= config.n_layers):
            left_out += [] if recipe.calculates(name) else [tensor.name]
            continue
        if not rules:
            unknown.append(tensor.name)
        for rule in rules:
            _add(grouped, rule, tensor, layer, expert)
    _check_known(recipe, unknown)
    if left_out:
        config.note(f"{len(left_out)} tensors are left out, as no text comes from them: {_some(left_out)}")
    made = [_made(name, rule, sources, config) for name, (rule, sources) in grouped.items()]
    _check_layers(made, config)
    check_complete(recipe, config, made)
    made = with_head(config, made)
    calculated = [Calculated(name, values) for name, values in recipe.extras(config).items()]
    return tuple(sorted([*made, *calculated], key=_order))


def _add(grouped: Grouped, rule: Rule, tensor: Stored, layer: int | None, expert: int | None) -> None:
    name = rule.target.replace("{layer}", str(layer))
    known, sources = grouped.setdefault(name, (rule, {}))
    if known is not rule or expert in sources:
        raise ModelFileError(
            f"{name} is given twice", f"the second is {tensor.name[:80]!r}", "fetch it again"
        )
    sources[expert] = tensor


def _check_known(recipe: Recipe, unknown: list[str]) -> None:
    if unknown:
        numbers = f"{len(unknown)} of them: {_some(unknown)}"
        cure = "it may be quantised, or of a newer kind"
        raise ModelFileError(
            f"the checkpoint has tensors that {recipe.architecture} does not know", numbers, cure
        )


def _some(names: list[str]) -> str:
    """The first few."""
    return ", ".join(name[:80] for name in names[:4]) + (", ..." if len(names) > 4 else "")


def _made(name: str, rule: Rule, sources: dict[int | None, Stored], config: Config) -> Converted:
    stacked = "{expert}" in rule.source
    if stacked and (len(sources) != config.n_experts or not all(n in sources for n in range(len(sources)))):
        numbers = f"{len(sources)} there, {config.n_experts} announced"
        raise ModelFileError(f"{name}: experts are missing", numbers, "fetch all files of the repository")
    ordered = tuple(sources[number] for number in sorted(sources, key=lambda number: number or 0))
    return converted(name, rule, ordered, stacked, config)


def _check_layers(made: list[Converted], config: Config) -> None:
    """Every layer must have something."""
    found = {layer for one in made if (layer := _order(one)[0]) >= 0}
    if len(found) != config.n_layers:
        numbers = f"{len(found)} of {config.n_layers}"
        raise ModelFileError("layers are missing", numbers, "fetch all files of the repository")


def _order(one: Target) -> tuple[int, str]:
    """What stands outside the layers first."""
    parts = one.name.split(".")
    return int(parts[1]) if parts[0] == "blk" else -1, one.name
