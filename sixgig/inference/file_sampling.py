"""How a model file wants its tokens chosen: the header's general.sampling keys, read as the engine reads
them."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sixgig.errors import UsageError
from sixgig.inference.sampling import MAX_LAST_N, SEQUENCE, SamplingOptions

_PREFIX = "general.sampling."
_INTEGERS = {"top_k": "top_k", "penalty_last_n": "penalty_last_n", "mirostat": "mirostat"}
_NUMBERS = {"temp": "temperature"} | {
    name: name
    for name in (
        *(
            "top_p",
            "min_p",
            "xtc_probability",
            "xtc_threshold",
            "penalty_repeat",
            "mirostat_tau",
            "mirostat_eta",
        ),
    )
}
# Out of these, a value means what the nearer end means; NaN means nothing.
_RANGES = {
    **{"temperature": (0.0, 100.0), "top_k": (0, 2**31 - 1), "penalty_last_n": (0, MAX_LAST_N)},
    **dict.fromkeys(("top_p", "min_p", "xtc_probability", "xtc_threshold"), (0.0, 1.0)),
}
_NEUTRAL = ("dry", "typ_p", "top_n_sigma")  # steps of llama.cpp's that do nothing unless asked for
_ALIASES = {"nucleus": "top_p", "temp": "temperature", "typ": "typ_p"} | {
    name.replace("_", mark): name for name in (*SEQUENCE, *_NEUTRAL) for mark in ("-", "")
}


@dataclass(frozen=True)
class FileSampling:
    """options: with the file's values in the place of defaults. taken: names of those. ignored: keys whose
    values cannot be obeyed."""

    options: SamplingOptions
    taken: tuple[str, ...]
    ignored: tuple[str, ...]


def file_sampling(value_of: Callable[[str], str | None], given: dict[str, Any] | None = None) -> FileSampling:
    """What a file asks for, `given` options apart, which win. `value_of` a key: the engine's text, None
    without."""
    given = given or {}
    options, taken, ignored = SamplingOptions(**given), list[str](), list[str]()
    for key, name in (_INTEGERS | _NUMBERS | {"sequence": "sequence"}).items():
        text = value_of(_PREFIX + key)
        if text is None or name in given:
            continue
        try:
            options = replace(options, **{name: _read(name, text)})
            taken.append(name)
        except (UsageError, ValueError):
            ignored.append(_PREFIX + key)
    return FileSampling(options, tuple(taken), tuple(ignored))


def _read(name: str, text: str) -> Any:
    """The value as C's strtol and strtof would read it. Raises ValueError where they would find none."""
    if name == "sequence":
        return _steps(text)
    pattern = r"\s*[+-]?\d+" if name in _INTEGERS.values() else r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    found = re.match(pattern, text)
    if found is None:
        raise ValueError(text)
    value = int(found[0]) if name in _INTEGERS.values() else float(found[0])
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    return min(max(value, low), high)


def _steps(text: str) -> tuple[str, ...]:
    names = [_ALIASES.get(name, name) for name in text.lower().split(";")]
    steps = tuple(name for name in names if name not in _NEUTRAL)
    if not steps:
        raise ValueError(text)
    return steps
