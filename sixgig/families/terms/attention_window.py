"""How far back attention looks, in graphs of llama.cpp that have a window and in those without."""

from sixgig.families.terms.config import Config
from sixgig.families.terms.recipe import Keys

_WINDOW = ("sliding_window", "use_sliding_window", "max_window_layers", "layer_types")


def context_length(config: Config, length: int) -> int:
    """Of `length` positions those for which the GGUF does what the checkpoint does.

    A window is no difference as long as it is not full: the context ends there, and that is noted.
    """
    window = _window(config)
    if not 0 < window < length:
        return length
    config.note(
        f"sliding_window is {window}: llama.cpp looks back without limit in this architecture, so the GGUF's "
        f"context is {window} and not {length}; up to there both are the same"
    )
    return window


def _window(config: Config) -> int:
    """Of those layers that have one; 0 where none does."""
    config.hear(*_WINDOW)
    if not config.has("sliding_window"):
        return 0
    kinds = config.layer_kinds
    if kinds:
        slides = "sliding_attention" in kinds
    elif config.has("use_sliding_window"):
        first = config.integer("max_window_layers", default=0)
        slides = config.flag("use_sliding_window") and first < config.n_layers
    else:
        slides = True
    return config.integer("sliding_window") if slides else 0


def window_keys(config: Config, period: int) -> Keys:
    """Of an architecture whose graph has a window: how long, and in which layers.

    `period` is what llama.cpp takes where the file names no layers: all but the last of each slide. Nothing
    is said where no layer slides.
    """
    slides = sliding_layers(config, period)
    if not any(slides):
        return {}
    keys: Keys = {"attention.sliding_window": config.integer("sliding_window")}
    if slides != _periodic(config, period):
        keys["attention.sliding_window_pattern"] = slides
    return keys


def sliding_layers(config: Config, period: int) -> list[bool]:
    """Which layers look back a window only: by "layer_types", else all but the last of every few."""
    config.hear(*_WINDOW)
    said = config.integer("sliding_window_pattern", "_sliding_window_pattern", default=period)
    if not config.has("sliding_window"):
        return [False] * config.n_layers
    kinds = config.layer_kinds
    return [kind == "sliding_attention" for kind in kinds] if kinds else _periodic(config, said)


def _periodic(config: Config, period: int) -> list[bool]:
    return [period > 0 and number % period != period - 1 for number in range(config.n_layers)]
