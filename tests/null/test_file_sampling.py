"""How a file wants its tokens chosen: what is taken, what wins, and the draws against the engine's server."""

from pathlib import Path
from typing import Any

import pytest

from sixgig.inference import Engine, EngineOptions, Sampler, SamplingOptions, generate
from sixgig.inference.file_sampling import file_sampling
from tests.null.test_prompts import from_the_server
from tests.tiny.lexicon import write

PREFIX = "general.sampling."
OPTIONS = EngineOptions(context=512, ubatch=256, threads=1)
PROMPT, SEED, COUNT = "the cat sat on the cat", 7, 40
ASKED: list[dict[str, Any]] = [
    {},
    {"temp": 1.5, "top_k": 9, "top_p": 0.8, "min_p": 0.1},
    {"temp": 0.0},
    {"temp": 0.0, "penalty_repeat": 1.8, "penalty_last_n": 12},
    {"temp": 1.2, "penalty_repeat": 1.3, "top_k": 0},
    {"temp": 1.0, "xtc_probability": 0.9, "xtc_threshold": 0.05, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
    {"temp": 0.7, "mirostat": 1, "mirostat_tau": 3.0},
    {"temp": 1.0, "mirostat": 2, "mirostat_eta": 0.3},
    {"temp": 2.0, "top_p": 0.5, "sequence": "temperature;top_p"},
    {"top_k": 3, "temp": 1.0, "sequence": "dry;top-k;temp"},
    {"temp": "0.3", "top_k": 5.0, "top_p": "half"},
    {"temp": -1.0, "top_k": -1, "top_p": 1.5},
]


def test_draws_are_those_of_the_engines_own_server(tmp_path: Path) -> None:
    body = {"prompt": PROMPT, "seed": SEED, "n_predict": COUNT}
    paths = [
        write(
            tmp_path / f"{number}.gguf",
            "bpe",
            fields={PREFIX + key: value for key, value in fields.items()},
            weight=1.0,
        )
        for number, fields in enumerate(ASKED)
    ]
    told = from_the_server([{"path": str(path), "drawn": [body]} for path in paths])
    for path, fields, theirs in zip(paths, ASKED, told, strict=True):
        with Engine(path, OPTIONS) as engine:
            options = file_sampling(engine.metadata, {"seed": SEED}).options
            run = generate(engine, engine.vocabulary.prompt(PROMPT), COUNT, Sampler(engine, options))
            list(run)
            drawn = [token for token in theirs["drawn"][0] if not engine.vocabulary.is_end(token)]
        assert run.result.token_ids == drawn and len(drawn) > 10, fields


def found(given: dict[str, Any] | None = None, **fields: str) -> Any:
    values = {PREFIX + key: value for key, value in fields.items()}
    return file_sampling(values.get, given)


def test_what_is_named_wins_over_the_file_and_the_file_over_the_default() -> None:
    asked = found({"temperature": 0.1, "seed": 3}, temp="0.6", top_k="20")
    assert asked.options == SamplingOptions(temperature=0.1, top_k=20, seed=3)
    assert asked.taken == ("top_k",) and not asked.ignored
    assert found().options == SamplingOptions() and not found().taken


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temp", "nan"),
        ("temp", "hot"),
        ("temp", ""),
        ("mirostat", "7"),
        ("penalty_repeat", "0"),
        ("penalty_repeat", "-1.1"),
        ("mirostat_tau", "1e30"),
        ("sequence", "infill;adaptive_p"),
        ("sequence", ""),
    ],
)
def test_what_cannot_be_obeyed_is_named_and_nothing_of_it_taken(key: str, value: str) -> None:
    asked = found(**{key: value})
    assert asked.options == SamplingOptions() and not asked.taken
    assert asked.ignored == (PREFIX + key,)


@pytest.mark.parametrize(
    ("key", "value", "name", "meant"),
    [
        ("temp", "-3", "temperature", 0),
        ("temp", "1e9", "temperature", 100),
        ("top_k", "-1", "top_k", 0),
        ("top_p", "7", "top_p", 1),
        ("min_p", "-0.5", "min_p", 0),
        ("penalty_last_n", "2147483647", "penalty_last_n", 1 << 16),
        ("top_k", "12.9 tokens", "top_k", 12),
        ("sequence", "Min-P;topk;TEMP", "sequence", ("min_p", "top_k", "temperature")),
    ],
)
def test_values_mean_what_they_mean_to_the_engine(key: str, value: str, name: str, meant: Any) -> None:
    assert getattr(found(**{key: value}).options, name) == meant
