"""How far back attention looks, where llama.cpp's graph of an architecture looks back without limit."""

from sixgig.families.terms.config import Config

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
