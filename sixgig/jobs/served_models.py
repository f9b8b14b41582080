"""The models to serve: from what was named to what the server knows of each."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from sixgig.engines import ModelCard, ModelSpec, model_card
from sixgig.errors import ModelFileError, SixgigError, UsageError
from sixgig.jobs.opening import DEMO_MODEL, demo_path
from sixgig.jobs.reporter import SILENT, Reporter
from sixgig.modelfile import offers, resolve
from sixgig.modelfile.listing import is_reference, reference
from sixgig.modelfile.names import is_gguf, last_piece, model_name
from sixgig.planning import Refusal
from sixgig.settings import ModelSettings, Settings, require_aliases_lead_somewhere
from sixgig.units import format_bytes

MIB = 1 << 20
_LONGEST_NAME = 128
_USUAL = ModelSettings(path=".")  # all but its path is as [server] says


def model_specs(
    models: Sequence[str], settings: Settings, reporter: Reporter = SILENT
) -> tuple[ModelSpec, ...]:
    """Those of the configuration and those named; the demo model where there are none.

    Raises UsageError where two have the same name or an alias has no model, and what finding one raises.
    """
    specs = []
    for name, path, model in (*_configured(settings), *_named(models)):
        reporter.check()
        specs.append(_spec(name, resolve(path, reporter.download_bar), model, settings))
    if not specs:
        knows = "which knows Python's PEPs and no more"
        reporter.say(f"no model named: serving the demo model {DEMO_MODEL}, {knows}")
        specs = [_spec("demo", demo_path(), _USUAL, settings)]
    _require_distinct(specs)
    require_aliases_lead_somewhere(settings, [spec.name for spec in specs])
    return tuple(specs)


def _configured(settings: Settings) -> Iterator[tuple[str, str, ModelSettings]]:
    for name, model in settings.models.items():
        yield name, model.path, model


def _named(models: Sequence[str]) -> Iterator[tuple[str, str, ModelSettings]]:
    """Those of the command line, by the names of their files; where two would be the same, one that had to be
    changed gets a number.
    """
    found = [pair for named in models for pair in _found(named)]
    fits = Counter(_fit(name) for name, _ in found)
    for name, path in found:
        fit = _fit(name)
        unlike = f"{fit}-{_number(name)}" if fits[fit] > 1 and fit != name else fit
        yield unlike, path, _USUAL


def _found(named: str) -> Iterator[tuple[str, str]]:
    """(name, path) of each model that one word of the command line stands for."""
    if is_reference(named):
        repository, word = reference(named)
        own = repository.rpartition("/")[2]
        yield (
            model_name(last_piece(word)) if word and is_gguf(word) else f"{own}:{word}" if word else own,
            named,
        )
        return
    for offer in offers(named):
        assert isinstance(offer.location, Path)
        yield offer.name, str(offer.location)


def _spec(name: str, path: Path, model: ModelSettings, settings: Settings) -> ModelSpec:
    return ModelSpec(
        name=name,
        path=path,
        context=model.context or settings.server.context,
        sequences=model.parallel or settings.server.parallel,
        ram_bytes=model.ram_bytes,
        pooling=model.pooling,
        adapter=model.adapter,
        keep_alive_s=model.keep_alive_s,
    )


def _fit(name: str) -> str:
    """A name that clients can type: a file's, a dash for whatever is no letter or digit of any script.

    What is left with none, or cut short, has a number that tells it from others, the same each time.
    """
    runs = itertools.groupby(unicodedata.normalize("NFC", name), _is_typed)
    fit = "".join("".join(run) if typed else "-" for typed, run in runs).strip("-.")
    if not any(map(str.isalnum, fit)):
        return f"model-{_number(name)}"
    return fit if len(fit) <= _LONGEST_NAME else f"{fit[:100]}-{_number(name)}"


def _is_typed(character: str) -> bool:
    return character in "._-" or unicodedata.category(character)[0] in "LMN"


def _number(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def _require_distinct(specs: Sequence[ModelSpec]) -> None:
    seen: dict[str, ModelSpec] = {}
    for spec in specs:
        if spec.name in seen:
            numbers = f"{seen[spec.name].path.name}, {spec.path.name}"
            cure = "give them names of their own in a --config file"
            raise UsageError(f"two models would both be called {spec.name}", numbers, cure)
        seen[spec.name] = spec


def model_cards(specs: Sequence[ModelSpec], reporter: Reporter = SILENT) -> list[ModelCard]:
    """By their headers. Of several models one that cannot be opened is left out, aloud."""
    cards = []
    for spec in specs:
        try:
            cards.append(card := model_card(spec))
        except SixgigError as error:
            if len(specs) == 1:
                raise
            _warn_line(reporter, f"{spec.name} is left out: {error}")
            continue
        if card.warning:
            _warn_line(reporter, card.warning)
        if spec.context is not None and card.context < spec.context:
            words = f"{spec.name} serves a context of {card.context}, not {spec.context}"
            _warn_line(reporter, f"{words}: it was trained for no more")
    if not cards:
        raise ModelFileError("none of the models can be opened", f"{len(specs)} tried", "see above")
    return cards


def _warn_line(reporter: Reporter, words: str) -> None:
    """In one line, whatever names and reasons it quotes."""
    reporter.warn(" ".join(words.split()))


def require_room(
    cards: Sequence[ModelCard], room_bytes: int, total_bytes: int, reporter: Reporter = SILENT
) -> None:
    """BudgetError where not even the smallest model fits; a word about each other that does not."""

    def least(card: ModelCard) -> int:
        return min(card.whole_bytes, card.paged_bytes or card.whole_bytes)

    for card in cards:
        if least(card) > min(room_bytes, card.spec.ram_bytes or room_bytes):
            reporter.warn(f"{card.name} does not fit: about {format_bytes(least(card))} needed")
    smallest = min(cards, key=least)
    if least(smallest) > room_bytes:
        own = total_bytes - room_bytes
        numbers = f"{format_bytes(least(smallest) + own)} needed, {format_bytes(own)} of it for the server"
        what = f"{smallest.name} does not fit in {format_bytes(total_bytes)} of memory"
        needed = -(-(least(smallest) + own) // MIB) * MIB
        raise Refusal(needed, what, numbers, f"try --ram {needed // MIB}M")
