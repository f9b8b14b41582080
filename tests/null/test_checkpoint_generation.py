"""Each key of generation_config.json is carried, known to do nothing, told, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from sixgig.checkpoint import convert
from sixgig.checkpoint.generation import sampling, stop_tokens
from sixgig.errors import ModelFileError
from sixgig.families.terms.config import Config
from tests.null.test_checkpoint import write_folder


def judged(**values: Any) -> tuple[dict[str, int | float], list[str]]:
    config = Config({})
    found = sampling(values, config)
    return {key.removeprefix("general.sampling."): value for key, value in found.items()}, list(config.notes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stop_strings", ["STOP"]),
        ("min_length", 3),
        ("min_new_tokens", 3),
        ("presence_penalty", 0.5),
        ("frequency_penalty", 0.5),
        ("penalty_alpha", 0.6),
        ("exponential_decay_length_penalty", [5, 1.1]),
        ("encoder_repetition_penalty", 1.5),
        ("encoder_no_repeat_ngram_size", 3),
        ("top_n_sigma", 1.0),
        ("top_h", 0.4),
        ("typical_p", 0.9),
        ("force_words_ids", [[3]]),
        ("constraints", [1]),
        ("suppress_tokens", [3]),
        ("watermarking_config", {"bias": 2.0}),
        ("token_healing", True),
        ("dola_layers", "low"),
        ("num_beams", 4),
        ("a_key_of_tomorrow", 1),
    ],
)
def test_a_key_that_no_gguf_carries_is_told_by_name(name: str, value: Any) -> None:
    found, notes = judged(**{name: value})
    assert found == {} and len(notes) == 1 and notes[0].startswith(f"generation_config.json: {name} is ")


def test_what_transformers_itself_writes_is_passed_over_in_silence() -> None:
    """Every default that its class has, and the keys that say what the caller wants."""
    from transformers import GenerationConfig

    defaults = GenerationConfig._get_default_generation_params()
    assert judged(**defaults)[1] == [] and judged(**GenerationConfig().to_dict())[1] == []
    quiet = {"max_length": 4096, "max_new_tokens": 512, "pad_token_id": 0, "_from_model_config": True}
    assert judged(**quiet, transformers_version="5.0.0", use_cache=True, stop_strings=None) == ({}, [])


def test_every_key_of_transformers_is_known() -> None:
    from transformers import GenerationConfig

    names = GenerationConfig().to_dict()
    notes = judged(**{name: 3 for name in names if name != "do_sample" and name[-2:] not in ("_p", "_h")})[1]
    assert [line for line in notes if "nothing here knows" in line] == []


def test_sampling_keys_are_carried_and_greedy_choice_keeps_its_penalty() -> None:
    values = {"temperature": 1, "top_p": 0.9, "min_p": 0.05, "top_k": 0, "repetition_penalty": 1.1}
    more = {"xtc_probability": 0.5, "xtc_threshold": 0.1, "mirostat": 2, "mirostat_tau": 5.0}
    assert judged(**values, **more, mirostat_eta=0.1, penalty_last_n=64) == (
        {"temp": 1.0, "top_p": 0.9, "min_p": 0.05, "top_k": 0, "penalty_repeat": 1.1, "penalty_last_n": 64}
        | more
        | {"mirostat_eta": 0.1},
        [],
    )
    assert judged(**values, do_sample=False) == ({"temp": 0.0, "penalty_repeat": 1.1}, [])
    assert judged(temperature=0.6, do_sample=True) == ({"temp": 0.6}, [])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", "0.5", "'0.5', not a number from 0"),
        ("temperature", -1, "-1, not a number from 0"),
        ("temperature", True, "True"),
        ("temperature", float("nan"), "nan"),
        ("temperature", float("inf"), "inf"),
        ("top_k", 5.5, "5.5, not a whole number from 0"),
        ("top_k", -1, "-1"),
        ("top_k", 2**31, "2147483648"),
        ("top_p", 1.5, "1.5, not a number from 0 to 1"),
        ("min_p", [0.1], "0.1"),
        ("repetition_penalty", 0, "0, not a number"),
        ("do_sample", "no", "'no', not true or false"),
        ("do_sample", 1, "1, not true or false"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(name: str, value: Any, words: str) -> None:
    for beside in ({}, {"do_sample": False}):
        with pytest.raises(ModelFileError, match=f"generation_config.json: {name} is no usable") as caught:
            judged(**(beside | {name: value}))
        assert words in str(caught.value)


@pytest.mark.parametrize("value", ["0", 99999, True, 1.0, [2, "3"], [2, 264], [-1], -2, {}])
def test_a_stop_token_that_is_none_is_refused_by_name(value: Any) -> None:
    for values, config, name in (
        ({"eos_token_id": value}, {"eos_token_id": 2}, "generation_config.json"),
        ({}, {"eos_token_id": value}, "config.json"),
    ):
        with pytest.raises(ModelFileError, match=f"^{name}: eos_token_id names no token"):
            stop_tokens(values, Config(config), 264)
    assert stop_tokens({"eos_token_id": [2, 3]}, Config({}), 264) == [2, 3]
    assert stop_tokens({}, Config({"eos_token_id": -1}), 264) == []


def test_a_conversion_carries_tells_and_refuses_them(tmp_path: Path) -> None:
    folder, lines = write_folder(tmp_path / "m"), list[str]()
    path = folder / "generation_config.json"
    path.write_text(json.dumps({"do_sample": False, "repetition_penalty": 1.25, "stop_strings": "X"}))
    convert(folder, tmp_path / "m.gguf", tell=lines.append)
    fields = GGUFReader(tmp_path / "m.gguf").fields
    assert fields["general.sampling.temp"].contents() == 0.0
    assert fields["general.sampling.penalty_repeat"].contents() == 1.25
    assert lines == ["generation_config.json: stop_strings is X; a GGUF cannot carry it"]
    path.write_text(json.dumps({"top_k": 5.5}))
    with pytest.raises(ModelFileError, match="top_k is no usable value"):
        convert(folder, tmp_path / "other.gguf")
    assert not (tmp_path / "other.gguf").exists()
