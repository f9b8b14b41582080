"""The models of `sixgig serve`: from what was named to what the server knows of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sixgig.cli.opening import DEMO_MODEL, demo_path
from sixgig.cli.terminal import say
from sixgig.engines import ModelCard, ModelSpec, model_card
from sixgig.errors import SixgigError, UsageError
from sixgig.modelfile import offers, resolve
from sixgig.plan import Refusal
from sixgig.settings import ModelSettings, Settings
from sixgig.units import format_bytes

MIB = 1 << 20
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


def model_specs(models: Sequence[str], settings: Settings) -> tuple[ModelSpec, ...]:
    """Those of the configuration and those named; the demo model where there are none.

    Raises UsageError where two would have the same name, and what finding one raises.
    """
    specs = [*_configured(settings), *_named(models, settings)]
    if not specs:
        say(f"no model named: serving the demo model {DEMO_MODEL}, which knows Python's PEPs and no more")
        specs = [_spec("demo", ModelSettings(path=str(demo_path())), settings)]
    _require_distinct(specs)
    return tuple(specs)


def _configured(settings: Settings) -> Iterator[ModelSpec]:
    for name, model in settings.models.items():
        yield _spec(name, model, settings)


def _named(models: Sequence[str], settings: Settings) -> Iterator[ModelSpec]:
    """Those of the command line, by the names of their files."""
    for named in models:
        if named.startswith("hf:"):
            yield _spec(
                _fit(named.removeprefix("hf:").rpartition("/")[2]), ModelSettings(path=named), settings
            )
            continue
        for offer in offers(named):
            assert isinstance(offer.location, Path)
            yield _spec(_fit(offer.name), ModelSettings(path=str(offer.location)), settings)


def _spec(name: str, model: ModelSettings, settings: Settings) -> ModelSpec:
    return ModelSpec(
        name=name,
        path=resolve(model.path),
        context=model.context or settings.server.context,
        sequences=model.parallel or settings.server.parallel,
        ram_bytes=model.ram_bytes,
        pooling=model.pooling,
        adapter=model.adapter,
        keep_alive_s=model.keep_alive_s,
    )


def _fit(name: str) -> str:
    """A name that clients can type: a file's, without what no name may hold."""
    return _UNFIT.sub("-", name).strip("-.") or "model"


def _require_distinct(specs: Sequence[ModelSpec]) -> None:
    seen: dict[str, ModelSpec] = {}
    for spec in specs:
        if spec.name in seen:
            numbers = f"{seen[spec.name].path.name}, {spec.path.name}"
            cure = "give them names of their own in a --config file"
            raise UsageError(f"two models would both be called {spec.name}", numbers, cure)
        seen[spec.name] = spec


def model_cards(specs: Sequence[ModelSpec]) -> list[ModelCard]:
    """By their headers. Of several models one that cannot be opened is left out, aloud."""
    cards = []
    for spec in specs:
        try:
            cards.append(model_card(spec))
        except SixgigError as error:
            if len(specs) == 1:
                raise
            say(f"{spec.name} is left out: {error}")
    if not cards:
        raise UsageError("none of the models can be opened", f"{len(specs)} tried", "see above")
    return cards


def require_room(cards: Sequence[ModelCard], room_bytes: int, total_bytes: int) -> None:
    """BudgetError where not even the smallest model fits; a word about each other that does not."""

    def least(card: ModelCard) -> int:
        return min(card.whole_bytes, card.paged_bytes or card.whole_bytes)

    for card in cards:
        if least(card) > min(room_bytes, card.spec.ram_bytes or room_bytes):
            say(f"{card.name} does not fit: about {format_bytes(least(card))} needed")
    smallest = min(cards, key=least)
    if least(smallest) > room_bytes:
        own = total_bytes - room_bytes
        numbers = f"{format_bytes(least(smallest) + own)} needed, {format_bytes(own)} of it for the server"
        what = f"{smallest.name} does not fit in {format_bytes(total_bytes)} of memory"
        needed = -(-(least(smallest) + own) // MIB) * MIB
        raise Refusal(needed, what, numbers, f"try --ram {needed // MIB}M")
