"""Logits of windows of text: an opening that suits them, and how the open engine is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sixgig.evaluate.log_probabilities import Logits
from sixgig.inference import Adapter, Engine, Watcher
from sixgig.inference.memory import allowed
from sixgig.jobs.opening import Opening
from sixgig.modelfile import ModelFile

MOST_UBATCH, FEWEST_UBATCH = 512, 16
LOGITS_SHARE = 8  # of the budget, one part may go to logits


def logits_opening(
    model: ModelFile,
    context: int,
    ram_bytes: int | None = None,
    vram_bytes: int = 0,
    threads: int | None = None,
    ubatch: int | None = None,
    *,
    scratch_bytes: int = 0,
    adapter: Adapter | None = None,
    observe: Watcher | None = None,
) -> Opening:
    """An Opening for logits_of() with windows of `context` tokens; None means the default, as Opening's.

    ubatch: tokens evaluated together, by default half a window, fewer where their logits would fill the
    budget. scratch_bytes: what is held beside the engine and two copies of a ubatch's logits. Extra buffer
    types are off: the figures do not depend on whether the model had to be paged.
    """
    ubatch = min(ubatch or fitting_ubatch(context, model.n_vocab, allowed(ram_bytes).ram_bytes), context)
    return Opening(
        model,
        ram_bytes,
        vram_bytes,
        context,
        threads,
        ubatch,
        extra_buffers=False,
        all_logits=True,
        beside_bytes=2 * 4 * ubatch * model.n_vocab + scratch_bytes,
        adapter=adapter,
        observe=observe,
    )


def fitting_ubatch(context: int, n_vocab: int, ram_bytes: int) -> int:
    """Tokens evaluated together: half a window, or fewer where logits would take too much of the budget.

    Three copies of a ubatch's logits are held: the engine's compute buffer, its output buffer, and ours.
    """
    ubatch = min(MOST_UBATCH, context // 2)
    while ubatch > FEWEST_UBATCH and 3 * 4 * ubatch * n_vocab * LOGITS_SHARE > ram_bytes:
        ubatch //= 2
    return ubatch


def logits_of(engine: Engine, tokens: Sequence[int], first: int) -> Iterator[Logits]:
    """A window's logits from position `first` on, a ubatch at a time; those before it are not computed."""
    engine.clear()
    engine.prefill(tokens[:first])
    for start in range(first, len(tokens), engine.ubatch):
        yield engine.all_logits(tokens[start : start + engine.ubatch])


def quantised_words(name: str, types: Sequence[str]) -> str:
    """A warning where what others are compared with is quantised itself, "" where it is not."""
    if not types:
        return ""
    return (
        f"warning: {name} is quantised already ({', '.join(types)}): divergences are measured from it, not "
        "from the weights it was made of, and what those lost is not counted"
    )
