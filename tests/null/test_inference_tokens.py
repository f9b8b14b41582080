import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import ModelFileError
from sixgig.inference import Engine, EngineOptions, TextStream, Vocabulary, tokens
from sixgig.llamacpp import load_library

TEXTS = st.text(max_size=60) | st.text(alphabet="aé€😀𝄞\n <|", max_size=40)


@pytest.fixture(scope="module")
def vocabulary(tiny):
    with Engine(tiny("llama"), EngineOptions(context=256, threads=1)) as engine:
        yield engine.vocabulary


@settings(max_examples=150, deadline=None)
@given(TEXTS.filter(lambda text: text.isprintable() or "\n" in text))
def test_text_survives_the_round_trip(vocabulary, text):
    ids = vocabulary.tokenize(text, parse_special=False)
    assert vocabulary.text(ids) == text


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_streaming_gives_the_whole_text_and_never_half_a_character(vocabulary, text):
    ids = vocabulary.tokenize(text, parse_special=False)
    stream = TextStream(vocabulary)
    pieces = [stream.feed(token) for token in ids]
    assert "\ufffd" not in "".join(pieces).replace("\ufffd" * text.count("\ufffd"), "")
    assert "".join(pieces) + stream.finish() == vocabulary.text(ids)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 270), max_size=40))
def test_any_tokens_stream_to_what_they_spell(vocabulary, ids):
    stream = TextStream(vocabulary)
    assert "".join(map(stream.feed, ids)) + stream.finish() == vocabulary.text(ids)


def test_a_character_split_over_tokens_waits(vocabulary):
    ids = vocabulary.tokenize("😀")
    assert len(ids) == 4
    stream = TextStream(vocabulary)
    assert [stream.feed(token) for token in ids] == ["", "", "", "😀"]
    stream.feed(ids[0])
    assert stream.finish() == "\ufffd"


def test_control_tokens_are_parsed_on_request_and_spelled_on_request(vocabulary):
    assert vocabulary.tokenize("<|im_end|>") == [2]
    assert len(vocabulary.tokenize("<|im_end|>", parse_special=False)) > 1
    assert vocabulary.text([2]) == "" and vocabulary.text([2], special=True) == "<|im_end|>"
    assert vocabulary.is_end(2) and not vocabulary.is_end(70)
    assert (vocabulary.bos, vocabulary.eos) == ("<|endoftext|>", "<|im_end|>")


def test_odd_text_does_no_harm(vocabulary):
    assert vocabulary.tokenize("") == []
    assert vocabulary.text(vocabulary.tokenize("a\0b")) == "a\0b"
    assert vocabulary.text(vocabulary.tokenize("\ud800")) == "?"
    assert vocabulary.text([-1, 10**9]) == ""
    assert len(vocabulary.tokenize("x" * 100_000)) == 100_000


def test_a_model_without_a_tokenizer_says_so(tiny, monkeypatch):
    with Engine(tiny("llama"), EngineOptions(context=256, threads=1)) as engine:
        kind = engine._c.llama_vocab_type(engine._c.llama_model_get_vocab(engine._model))
        monkeypatch.setattr(tokens, "_NO_VOCABULARY", kind)
        bare = Vocabulary(load_library(), engine._model)
    with pytest.raises(ModelFileError, match="no tokenizer"):
        bare.tokenize("text")
