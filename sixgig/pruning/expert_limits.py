"""How many experts and how many channels of each a stock llama.cpp loads, and the metadata that say so."""

from __future__ import annotations

from sixgig.errors import UsageError
from sixgig.families import SharedWidth
from sixgig.pruning.expert_tensors import ExpertShapes
from sixgig.pruning.structure import expert_cuts

_FEWEST_PER_GROUP = 2  # a group's score is the sum of its two best


def possible_counts(shapes: ExpertShapes) -> list[int]:
    """Numbers of experts that load, ascending, the present one last.

    Groups of experts keep their number, so each must lose as many; the experts a token uses must be there in
    the groups it may choose from, or in all.
    """
    frozen, present = expert_cuts(shapes.weights.model).frozen_count, shapes.n_experts
    if present == frozen:
        return [present]
    groups, least = shapes.n_groups, 1
    if groups > 1:
        chosen = shapes.number("expert_group_used_count", 1)
        least = max(_FEWEST_PER_GROUP, -(-most_used(shapes) // chosen))
    return [n for n in range(least * groups, present + 1, groups) if n != frozen or n == present]


def possible_widths(shapes: ExpertShapes) -> list[int]:
    """Widths that load in the type the experts are stored in, ascending, the present one last.

    Where llama.cpp takes the shared experts' width for a multiple of the routed one, it must stay a multiple.
    """
    block, shared = shapes.layers[0].down.type.block_elements, expert_cuts(shapes.weights.model).shared
    widths = range(block, shapes.width + 1, block) if block > 1 else range(1, shapes.width + 1)
    if shared is SharedWidth.SAME and shapes.shared_width:
        return [shapes.width]
    if shared is SharedWidth.COUNTED and shapes.shared_width:
        return [width for width in widths if shapes.shared_width % width == 0]
    return list(widths)


def require_count(shapes: ExpertShapes, keep: int) -> None:
    """UsageError with the nearest number that loads, unless `keep` experts do."""
    _require("experts in every layer", keep, possible_counts(shapes), shapes)


def require_width(shapes: ExpertShapes, width: int) -> None:
    """UsageError with the nearest width that loads, unless `width` does."""
    _require("channels in every expert", width, possible_widths(shapes), shapes)


def count_metadata(shapes: ExpertShapes, keep: int) -> dict[str, object]:
    """What changes with `keep` experts: their number, and that of those used where it would be larger.

    Where the width follows from the number used unless it is written, it is written.
    """
    changes: dict[str, object] = {shapes.key("expert_count"): keep}
    used = shapes.used()
    if most_used(shapes) > keep:
        fewer = min(used, keep) if isinstance(used, int) else [min(one, keep) for one in used]
        changes[shapes.key("expert_used_count")] = fewer
        changes |= width_metadata(shapes, shapes.width)
    return changes


def width_metadata(shapes: ExpertShapes, width: int) -> dict[str, object]:
    """What changes with experts of `width` channels, the shared ones staying as they are."""
    declared = expert_cuts(shapes.weights.model)
    changes: dict[str, object] = {shapes.key(name): width for name in declared.width_key}
    if not shapes.shared_width:
        return changes
    count = max(1, shapes.number("expert_shared_count", 1))
    if declared.shared is SharedWidth.STATED:
        changes[shapes.key("expert_shared_feed_forward_length")] = shapes.shared_width
    if declared.shared is SharedWidth.STATED_EACH:
        changes[shapes.key("expert_shared_feed_forward_length")] = shapes.shared_width // count
    if declared.shared is SharedWidth.COUNTED:
        changes[shapes.key("expert_shared_count")] = shapes.shared_width // width
    return changes


def most_used(shapes: ExpertShapes) -> int:
    """Experts a token uses in the layer where it uses most."""
    used = shapes.used()
    return used if isinstance(used, int) else max(used)


def _require(what: str, wanted: int, possible: list[int], shapes: ExpertShapes) -> None:
    if wanted in possible:
        return
    nearest = sorted(sorted(possible, key=lambda one: abs(one - wanted))[:2])
    raise UsageError(
        f"{wanted} {what} cannot be loaded as {shapes.weights.model.architecture}",
        f"possible: {len(possible)} values from {possible[0]} to {possible[-1]}",
        f"nearest: {', '.join(map(str, nearest))}",
    )
