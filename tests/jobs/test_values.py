"""What callers hand in is checked once, for every job: one clear error, and numpy's numbers count as ours."""

import copy
import inspect
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sixgig
from sixgig.inference import SamplingOptions
from sixgig.jobs.bench import BenchRequest
from sixgig.jobs.demo import DemoRequest
from sixgig.jobs.ledger import LedgerRequest

NEEDED: dict[type, dict[str, Any]] = {
    sixgig.LoadRequest: {},
    sixgig.PlanRequest: {},
    sixgig.ScoreRequest: {"text": "a.txt"},
    sixgig.ShrinkRequest: {"model": "a.gguf", "output": "b.gguf", "text": "a.txt", "size": 1},
    sixgig.TuneRequest: {"model": "a.gguf", "data": "a.txt", "output": "a"},
    sixgig.ServeRequest: {},
    sixgig.DoctorRequest: {},
    sixgig.PagingOptions: {},
    BenchRequest: {},
    DemoRequest: {},
    LedgerRequest: {},
    SamplingOptions: {},
}
OF_NO_FIELD = [
    object(),
    b"x",
    {"a": 1},
    {1, 2},
    np.array([1, 2]),
    1j,
    Decimal(5),
    range(3),
    int,
    "\0",
    "x" * 5000,
]


@pytest.mark.parametrize("kind", NEEDED, ids=lambda kind: kind.__name__)
def test_a_value_of_another_type_is_refused_in_one_line_by_every_request(kind: type) -> None:
    for name in inspect.signature(kind).parameters:
        for value in OF_NO_FIELD:
            if (kind, name) == (sixgig.ServeRequest, "host") or (
                name == "models" and isinstance(value, range)
            ):
                continue
            if isinstance(value, str) and name in ("targets", "optimizer"):
                continue
            with pytest.raises(sixgig.UsageError) as error:
                kind(**{**NEEDED[kind], name: value})
            assert "\n" not in str(error.value)


def test_numbers_of_numpy_are_pythons_before_anything_is_multiplied_with_them() -> None:
    request = sixgig.PlanRequest(ram=np.int32(2 << 29), context=np.uint16(4096), dry_load=np.bool_(False))
    assert [type(v) for v in (request.ram, request.context, request.dry_load)] == [int, int, bool]
    assert (request.ram, request.context) == (1 << 30, 4096)
    assert type(SamplingOptions(temperature=np.float32(0.5), seed=np.int64(7)).temperature) is float
    for truth in (True, np.bool_(True)):
        with pytest.raises(sixgig.UsageError, match="--ram of True is not possible; a whole number"):
            sixgig.LoadRequest(ram=truth)


def test_a_path_is_a_text_or_a_path_and_never_bytes(tmp_path: Path) -> None:
    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path)

    assert sixgig.LoadRequest(adapter=Place()).adapter == tmp_path  # type: ignore[arg-type]
    with pytest.raises(sixgig.UsageError, match="--model of b'a' is not possible; a path is needed"):
        sixgig.LoadRequest(b"a")  # type: ignore[arg-type]
    with pytest.raises(sixgig.UsageError, match="a model of 1 is not possible"):
        sixgig.ServeRequest(["a.gguf", 1])  # type: ignore[list-item]


def test_what_a_model_is_asked_with_is_refused_like_what_it_was_opened_with() -> None:
    chat = [{"role": "user", "content": "Why?"}]
    with sixgig.load(context=128, threads=1) as model:
        refused: list[tuple[Any, dict[str, Any]]] = [
            (model.generate, {"prompt": None}),
            (model.generate, {"prompt": b"PEP"}),
            (model.generate, {"prompt": "PEP", "max_tokens": True}),
            (model.generate, {"prompt": "PEP", "stop": 1}),
            (model.generate, {"prompt": "PEP", "stop": [b"x"]}),
            (model.generate, {"prompt": "PEP", "top_k": 1.5}),
            (model.generate, {"prompt": "PEP", "temperature": "hot"}),
            (model.generate, {"prompt": "PEP", "sequence": 1}),
            (model.chat, {"messages": None}),
            (model.chat, {"messages": chat, "stop": 1}),
            (model.converse, {"system": b"x"}),
            (model.tokenize, {"text": None}),
            (model.detokenize, {"tokens": [1.0]}),
            (model.detokenize, {"tokens": None}),
        ]
        for ask, arguments in refused:
            with pytest.raises(sixgig.UsageError):
                ask(**arguments)
        tokens = np.array(model.tokenize("PEP: 9999", special=False))
        assert model.detokenize(tokens) == "PEP: 9999"  # type: ignore[arg-type]


def test_one_stop_string_is_not_one_for_each_of_its_letters() -> None:
    with sixgig.load(context=128, threads=1) as model:
        whole = "".join(model.generate("PEP: 9999\nTitle: ", 24, temperature=0))
        stop = whole[8:12]
        pieces = model.generate("PEP: 9999\nTitle: ", 24, temperature=0, stop=stop)
        assert "".join(pieces) == whole[: whole.index(stop)] and pieces.result.finish == "stop"
        assert "".join(model.generate("PEP: 9999\nTitle: ", 24, temperature=0, stop=None)) == whole


def test_an_error_reaches_another_process_whole() -> None:
    with pytest.raises(sixgig.BudgetError) as refused:
        sixgig.load(context=128, ram=10 << 20)
    there = pickle.loads(pickle.dumps(refused.value))
    assert type(there) is type(refused.value) and str(there) == str(refused.value)
    assert vars(there) == vars(refused.value) and str(copy.copy(there)) == str(there)
