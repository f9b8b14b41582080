"""What reading DATA may take: it is asked for before it is taken, and a budget that is named works."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sixgig.errors import BudgetError
from sixgig.finetune.examples import Completion, Conversation, Example, Text, read_examples
from sixgig.finetune.rendering import BLOCK_CHARACTERS, MOST_BLOCKS, _blocks, render
from sixgig.finetune.room import Room
from sixgig.finetune.schedule import StepSize
from sixgig.hardware import process_memory
from sixgig.hardware.memory import give_back
from sixgig.jobs.tune_memory import Extent, extent_of

MIB = 1 << 20


def _with(free_bytes: int) -> Room:
    give_back()  # what tests before this one left in the heap is no room
    return Room(process_memory().resident_bytes + free_bytes)


class _Refusing:
    """A tokenizer and template that must not be reached."""

    eos, frame = "", ([], [])

    def tokenize(self, text: str, add_special: bool = False, parse_special: bool = True) -> list[int]:
        raise AssertionError("tokenised before memory was asked for")

    def is_end(self, token: int) -> bool:
        raise AssertionError

    def render(self, messages: object, **_: object) -> str:
        raise AssertionError("rendered before memory was asked for")


def _examples() -> Iterator[Example]:
    text = "word " * (4 * MIB)
    yield Text("data, line 3", text)
    yield Completion("data, line 3", text, "yes")
    yield Conversation(
        "data, line 3", ({"role": "user", "content": text}, {"role": "assistant", "content": "y"})
    )


@pytest.mark.parametrize("example", list(_examples()), ids=lambda example: type(example).__name__)
def test_a_row_too_large_for_the_budget_is_refused_before_it_is_tokenised(example: Example) -> None:
    double = _Refusing()
    with pytest.raises(BudgetError, match=r"data, line 3: .*20.00 MiB of text .* allowed; .*try --ram \d+M"):
        render(example, double, double, room=_with(8 * MIB))


@pytest.mark.parametrize("ending", ["\n", ""])
def test_a_line_too_long_for_the_budget_is_refused_before_it_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text('{"text": "short"}\n' + json.dumps({"text": "word " * (4 * MIB)}) + ending)
    before = process_memory().resident_bytes
    rows = read_examples(path, _with(30 * MIB))
    assert next(rows).place.endswith("line 1")
    with pytest.raises(BudgetError, match=r"long.jsonl, line 2: .*20.00 MiB of text"):
        next(rows)
    assert process_memory().resident_bytes < before + 15 * MIB
    assert len(list(read_examples(path, _with(400 * MIB)))) == 2


def test_an_array_too_large_for_the_budget_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "array.json"
    path.write_text(json.dumps([{"text": "word " * 1000}] * 4000))
    with pytest.raises(BudgetError, match=r"array.json: .* allowed"):
        next(read_examples(path, _with(30 * MIB)))


@pytest.mark.parametrize("text", ["word " * 99999, "x" * 999999, "line\nof\n" * 99999, "word", ""])
def test_a_text_is_tokenised_in_blocks_of_bounded_size(text: str) -> None:
    blocks = list(_blocks(text))
    assert "".join(blocks) == text
    assert all(len(block) <= MOST_BLOCKS * BLOCK_CHARACTERS for block in blocks)
    assert all(len(block) >= BLOCK_CHARACTERS for block in blocks[:-1])


@pytest.mark.parametrize("batch", [None, 1, 1500, 4096])
@pytest.mark.parametrize("lengths", [[20] * 60, [20] * 60000, [3000] * 40, [2049] * 9 + [5], [2] * 8])
def test_the_batch_of_any_data_lies_between_what_its_size_says(lengths: list[int], batch: int | None) -> None:
    n_bytes = 3 * sum(lengths)
    extent = Extent(n_bytes, 3 * max(lengths), len(lengths), len(lengths))
    size = StepSize(context=4096, batch=batch)
    fitted = size.fitted_to(lengths)
    least, most = extent.least_batch(size, 1), extent.most_batch(size, 1)
    assert least.tokens <= fitted.step_tokens <= most.tokens
    assert least.micro_tokens <= fitted.micro_tokens <= most.micro_tokens


def test_sixty_short_rows_may_lead_to_a_small_batch() -> None:
    extent = Extent(3600, 60, 60, 60)
    assert extent.least_batch(StepSize(context=4096), 1).tokens < 100
    assert extent.most_batch(StepSize(context=4096), 1).tokens < 1024


def test_the_extent_of_a_file_counts_rows_and_the_longest(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text('{"text": "a"}\n\n{"text": "' + "b" * 3 * MIB + '"}\n' + '{"text": "c"}')
    found = extent_of(lines)
    assert (found.least_rows, found.most_rows) == (3, 3) and found.size_bytes == lines.stat().st_size
    assert found.longest_bytes == 3 * MIB + len('{"text": ""}')
    array = tmp_path / "array.json"
    array.write_text(json.dumps([{"text": "a"}] * 50))
    assert (extent_of(array).least_rows, extent_of(array).most_rows) == (1, 50)
    assert extent_of(tmp_path / "none") == Extent(0, 0, 0, 0)
