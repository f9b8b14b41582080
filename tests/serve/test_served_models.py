"""What `sixgig serve` makes of the models it is given, before any is loaded."""

import shutil
from dataclasses import replace

import httpx
import pytest
from gguf import PoolingType

from sixgig.cli.main import main
from sixgig.engines import ModelSpec
from sixgig.errors import BudgetError, ModelFileError, PurposeError, SixgigError, UsageError
from sixgig.jobs.reporter import SILENT
from sixgig.jobs.served_models import MIB, model_cards, model_specs, require_room
from sixgig.modelfile import offers
from sixgig.server.ollama_models import shown
from sixgig.settings import ModelSettings, Settings
from sixgig.units import parse_size
from tests.jobs.reporters import Recorder
from tests.serve.engine_processes import running
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO, rewritten
from tests.tiny import encoders
from tests.tiny.edited import edited
from tests.tune.adapters import ATTENTION, random_lora, written


def specs_of(*models, reporter=SILENT, **configured):
    settings = Settings(models={name: ModelSettings(path=str(path)) for name, path in configured.items()})
    return model_specs([str(model) for model in models], settings, reporter)


@pytest.fixture
def heard(capsys):
    """A reporter of its own; nothing else is told anybody."""
    yield (reporter := Recorder())
    assert reporter.told
    assert capsys.readouterr() == ("", "")


def demo_with(adapter):
    (spec,) = specs_of(DEMO)
    return replace(spec, adapter=adapter)


def test_a_folder_gives_each_of_its_models_a_name_that_can_be_typed(tiny, tmp_path):
    for name in ("a model (v2).gguf", "b.Q8_0.gguf"):
        shutil.copy(tiny("qwen3"), tmp_path / name)
    assert [spec.name for spec in specs_of(tmp_path)] == ["a-model-v2", "b.Q8_0"]


def test_an_ending_in_capitals_is_no_part_of_a_name(tiny, tmp_path):
    shutil.copy(tiny("qwen3"), tmp_path / "Chat-Q4_0.GGUF")
    assert [spec.name for spec in specs_of(tmp_path)] == ["Chat-Q4_0"]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("hf:owner/repo", "repo"),
        ("hf:owner/repo:Q4_K_M", "repo-Q4_K_M"),
        ("HF:owner/repo:sub/M-Q4_K_M-00002-of-00003.GGUF", "M-Q4_K_M"),
    ],
)
def test_a_repositorys_model_is_called_as_it_was_named(monkeypatch, named, name):
    monkeypatch.setattr("sixgig.jobs.served_models.resolve", lambda model, bar: DEMO)
    assert [spec.name for spec in specs_of(named)] == [name]


def test_without_any_model_the_demo_is_served_aloud(heard):
    (spec,) = specs_of(reporter=heard)
    assert spec.name == "demo" and spec.path.samefile(DEMO)
    assert "demo model" in heard.words("say")[0]


def test_two_models_of_one_name_are_refused_with_both_files(tiny, tmp_path):
    other = shutil.copy(tiny("qwen3"), tmp_path / "chat.gguf")
    with pytest.raises(UsageError, match=rf"called chat; {DEMO.name}, chat.gguf; .*--config"):
        specs_of(other, chat=DEMO)


def test_of_several_models_a_broken_one_is_left_out_aloud(tiny, tmp_path, heard):
    (broken := tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    cards = model_cards(specs_of(broken=broken, whole=tiny("qwen3")), heard)
    assert [card.name for card in cards] == ["whole"]
    (said,) = heard.words("warn")
    assert "left out" in said and "broken.gguf" in said


def test_what_no_request_could_be_answered_with_is_refused_at_start(tiny, tmp_path, heard):
    ranker = encoders.bert(tmp_path / "ranker.gguf", PoolingType.RANK)
    with pytest.raises(PurposeError, match="is a reranking model"):
        model_cards(specs_of(ranker=ranker))
    cards = model_cards(specs_of(both=encoders.t5(tmp_path / "t5.gguf"), chat=tiny("qwen3")), heard)
    assert [card.name for card in cards] == ["chat"]
    assert "both is left out: " in heard.words("warn")[0]


@pytest.mark.parametrize("kind", ["none", "no_vocab"])
def test_a_file_without_a_vocabulary_is_refused_before_any_text_ends_the_engine(tiny, tmp_path, capsys, kind):
    path = edited(tiny("qwen3", "Q8_0"), tmp_path / "a.gguf", {"tokenizer.ggml.model": kind})
    with pytest.raises(PurposeError, match=f"has no vocabulary: .*tokenizer.ggml.model is {kind}"):
        model_cards(specs_of(path))
    for verb in (["run", "-p", "a"], ["bench"]):
        assert main([*verb[:1], str(path), *verb[1:]]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "has no vocabulary" in said and said.count("\n") == 1


def test_a_vocabulary_for_tests_is_told_aloud(tiny, tmp_path, capsys):
    path = edited(tiny("qwen3", "Q8_0"), tmp_path / "a.gguf", {"tokenizer.ggml.model": "test"})
    model_cards(specs_of(path), reporter := Recorder())
    assert "has a vocabulary for tests" in reporter.words("warn")[0]
    assert main(["run", str(path), "-p", "a", "-n", "1", "--ram", "4G", "--context", "256"]) == 0
    assert "has a vocabulary for tests" in capsys.readouterr().err


def test_the_type_told_of_is_the_one_that_plan_tells(tiny, tmp_path):
    """By the file's number, whatever holds the most bytes."""
    path = edited(tiny("qwen3", "Q8_0"), tmp_path / "a.gguf", {"general.file_type": 15})
    (card,), (offer,) = model_cards(specs_of(path)), offers(str(path))
    assert card.file_type == offer.quantisation == "Q4_K_M"


def test_where_none_can_be_opened_nothing_is_served(tmp_path):
    (broken := tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(ModelFileError, match=r"broken\.gguf"):
        model_cards(specs_of(one=broken))
    with pytest.raises(ModelFileError, match="nowhere"):
        model_cards(specs_of(gone="/nowhere/model.gguf"))
    with pytest.raises(SixgigError, match="none of the models"):
        model_cards(specs_of(one=broken, two=broken))


def test_an_adapter_that_cannot_work_is_refused_before_anybody_asks(tiny, tmp_path):
    foreign = written(tmp_path / "foreign.gguf", random_lora(tiny("qwen3"), ATTENTION))
    for adapter, why in (
        (tmp_path / "none.gguf", r"none\.gguf"),
        (DEMO, "no adapter"),
        (foreign, "another architecture"),
    ):
        with pytest.raises(ModelFileError, match=why):
            model_cards([demo_with(adapter)])
    fitting = written(tmp_path / "fitting.gguf", random_lora(DEMO, ATTENTION))
    assert model_cards([demo_with(fitting)])[0].spec.adapter == fitting


def test_a_model_beyond_what_there_is_or_beyond_its_own_ram_is_told_aloud(tiny, heard):
    (spec,) = specs_of(large=DEMO)
    cards = model_cards([replace(spec, ram_bytes=20 * MIB), *specs_of(small=tiny("qwen3"))])
    require_room(cards, 1000 * MIB, 1100 * MIB, heard)
    (said,) = heard.words("warn")
    assert "large does not fit" in said and "small" not in said


def test_where_not_even_the_smallest_fits_the_size_that_would_do_is_named():
    cards = model_cards(specs_of(DEMO))
    with pytest.raises(BudgetError, match=r"try --ram \d+M") as refused:
        require_room(cards, 10 * MIB, 60 * MIB)
    enough = parse_size(str(refused.value).rsplit("--ram ", 1)[1])
    require_room(cards, enough - 50 * MIB, enough)
    with pytest.raises(BudgetError):
        require_room(cards, enough - 52 * MIB, enough - 2 * MIB)


@pytest.mark.parametrize(
    ("trained", "asked", "sequences"),
    [(4096, 100_000, 2), (4096, 300, 1), (4096, 300, 2), (300, 4096, 2), (300, None, 1)],
)
@in_loop
async def test_the_context_told_of_is_what_the_engine_gives(tmp_path, trained, asked, sequences):
    path = rewritten(tmp_path / "m.gguf", {"qwen35moe.context_length": trained})
    (card,) = model_cards([ModelSpec("m", path, context=asked, sequences=sequences)])
    async with running(path, context=card.context, sequences=sequences) as engine:
        transport = httpx.AsyncHTTPTransport(uds=str(engine.order.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            (model,) = (await client.get("/v1/models")).json()["data"]
        assert model["meta"]["n_ctx"] == card.context
        assert shown(card)["model_info"]["qwen35moe.context_length"] == card.context
        assert card.context == min(trained, -(-(asked or 4096) // 256) * 256)


def test_a_context_above_the_trained_one_is_told_aloud_and_takes_no_more_memory(heard):
    (spec,) = specs_of(DEMO)
    most, beyond = model_cards([replace(spec, context=context) for context in (4096, 100_000)], heard)
    assert (beyond.context, beyond.whole_bytes) == (4096, most.whole_bytes)
    said = heard.words("warn")
    assert len(said) == 1 and "a context of 4096, not 100000" in said[0]
