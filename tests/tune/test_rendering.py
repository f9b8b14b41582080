"""Which tokens a model is taught, against transformers' masks and against what inference feeds."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sixgig.errors import UsageError
from sixgig.finetune import rendering
from sixgig.finetune.examples import Completion, Conversation, Text
from sixgig.finetune.rendering import render
from sixgig.inference import ChatTemplate, Engine, EngineOptions

PLACE = "data.jsonl, line 3"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '<|sep|>\n\n' + m.content | trim"
    " + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|sep|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)
# Thinking stays in the answer to the last question only, as in Qwen3's own.
QWEN_3 = (
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}"
    "{% if m.role == 'assistant' and loop.index0 < ns.last %}"
    "{% set content = content.split('</think>')[-1] %}"
    "{% endif %}{{ '<|im_start|>' + m.role + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The prompt begins the thinking, the history has none of it, as in DeepSeek-R1's.
R_1 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|im_start|>' + m.content }}{% else %}"
    "{{ 'Assistant:' + m.content.split('</think>')[-1] + '<|endoftext|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:<think>\n' }}{% endif %}"
)
# A turn ends where the next begins, as in GLM's.
GLM = "{% for m in messages %}{{ '<|im_end|>' + m.role + '\n' + m.content }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ '<|im_end|>assistant\n' }}{% endif %}"
)
TURNS = [("user", "Hi <b>"), ("assistant", "Hello, you. "), ("user", "2+2?"), ("assistant", "Four é😀")]


def conversation(*turns, tools=None):
    return Conversation(PLACE, tuple({"role": role, "content": content} for role, content in turns), tools)


@pytest.fixture(scope="module")
def vocabulary(tiny):
    with Engine(tiny("llama"), EngineOptions(context=64, threads=1)) as engine:
        yield engine.vocabulary


def taught(vocabulary, document):
    """The learnt text, in its runs."""
    edges = np.flatnonzero(np.diff(document.learn.astype(int), prepend=0, append=0)).reshape(-1, 2)
    return [vocabulary.text(document.tokens[start:end].tolist(), special=True) for start, end in edges]


def template(source, vocabulary):
    return ChatTemplate(source, vocabulary.bos, vocabulary.eos)


@pytest.mark.parametrize(
    ("source", "answers"),
    [
        (CHATML, ["Hello, you. <|im_end|>", "Four é😀<|im_end|>"]),
        (LLAMA_3, ["Hello, you.<|im_end|>", "Four é😀<|im_end|>"]),
        (MISTRAL, [" Hello, you. <|im_end|>", " Four é😀<|im_end|>"]),
        (GLM, ["Hello, you. <|im_end|>", "Four é😀<|im_end|>"]),
        (None, ["Hello, you. <|im_end|>", "Four é😀<|im_end|>"]),
    ],
)
def test_answers_and_their_ends_are_taught(vocabulary, source, answers):
    (document,) = render(conversation(*TURNS), template(source, vocabulary), vocabulary)
    assert taught(vocabulary, document) == answers
    assert document.learn[-1] and not document.divisible


@pytest.mark.parametrize("source", [CHATML, LLAMA_3, MISTRAL, GLM, QWEN_3, R_1])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(alphabet="the and<|>\n é:[]", min_size=1, max_size=12), min_size=2, max_size=6))
def test_an_answer_follows_the_very_tokens_that_inference_is_given(vocabulary, source, texts):
    texts = texts[: len(texts) // 2 * 2]
    example = conversation(*zip(["user", "assistant"] * 3, texts, strict=False))
    chat = template(source, vocabulary)
    documents = render(example, chat, vocabulary)
    for answer in range(1, len(texts), 2):
        document = documents[0] if len(documents) == 1 else documents[answer // 2]
        prompt = vocabulary.tokenize(chat.render(example.messages[:answer]))
        if len(documents) > 1 or answer == 1:
            assert document.tokens[: len(prompt)].tolist() == prompt
            assert not document.learn[: len(prompt)].any() and document.learn[len(prompt)]
        else:  # what was generated is never tokenised anew: the text is the same, its division may not be
            text = vocabulary.text(document.tokens.tolist(), special=True)
            assert text.startswith(vocabulary.text(prompt, special=True))


def test_the_conversation_equals_what_a_chat_has_in_its_cache(vocabulary):
    chat = template(CHATML, vocabulary)
    (document,) = render(conversation(*TURNS), chat, vocabulary)
    first = vocabulary.tokenize(chat.render(conversation(*TURNS[:1]).messages))
    said = vocabulary.tokenize("Hello, you. ")  # as sixgig.inference.Conversation continues a chat
    rest = vocabulary.tokenize("<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n")
    cache = first + said + rest
    assert document.tokens[: len(cache)].tolist() == cache


@pytest.fixture(scope="module")
def shared(shared_model):
    with Engine(shared_model, EngineOptions(context=64, threads=1)) as engine:
        yield engine, AutoTokenizer.from_pretrained(shared_model.parent)


WORDS = st.text(alphabet="The PEP and\n<|>é😀:=`", min_size=1, max_size=20).map(lambda text: "a" + text)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    opening=st.lists(st.tuples(st.sampled_from(["system", "user"]), WORDS), min_size=1, max_size=2),
    turns=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS), max_size=4),
    answer=WORDS,
)
def test_marks_are_those_of_transformers(shared, opening, turns, answer):
    engine, tokenizer = shared
    example = conversation(*opening, *turns, ("assistant", answer))
    template = ChatTemplate(engine.chat_template, engine.vocabulary.bos, engine.vocabulary.eos)
    (document,) = render(example, template, engine.vocabulary)
    expected = tokenizer.apply_chat_template(
        list(example.messages),
        chat_template=CHATML_MARKED,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    ids, mask = expected["input_ids"], expected["assistant_masks"]
    size = len(ids) - mask[::-1].index(1)
    assert document.tokens.tolist() == ids[:size]
    assert document.learn.astype(int).tolist() == mask[:size]


def test_templates_that_rewrite_the_past_get_a_document_for_each_answer(vocabulary):
    turns = [
        ("user", "a"),
        ("assistant", "<think>x</think>b"),
        ("user", "c"),
        ("assistant", "<think>y</think>d"),
    ]
    documents = render(conversation(*turns), template(QWEN_3, vocabulary), vocabulary)
    assert [taught(vocabulary, document) for document in documents] == [
        ["<think>x</think>b<|im_end|>"],
        ["<think>y</think>d<|im_end|>"],
    ]
    assert "<think>x" not in vocabulary.text(documents[1].tokens.tolist())
    assert documents[0].example == documents[1].example


@pytest.mark.parametrize("content", ["<think>\nx</think>b", "x</think>b"])
def test_an_answer_goes_on_where_the_prompt_began_it(vocabulary, content):
    example = conversation(("user", "a"), ("assistant", content))
    (document,) = render(example, template(R_1, vocabulary), vocabulary)
    text = vocabulary.text(document.tokens.tolist(), special=True)
    assert text == "<|im_start|>aAssistant:<think>\nx</think>b<|endoftext|>"
    assert taught(vocabulary, document) == ["x</think>b<|endoftext|>"]


def test_thinking_that_a_template_would_lose_is_refused(vocabulary):
    message = {"role": "assistant", "content": "b", "reasoning_content": "x"}
    example = Conversation(PLACE, ({"role": "user", "content": "a"}, message))
    with pytest.raises(UsageError, match=r"line 3, message 2.*leaves out its reasoning"):
        render(example, template(R_1, vocabulary), vocabulary)


def test_weight_0_first_words_and_what_follows_the_last_answer_are_not_taught(vocabulary):
    messages = [{"role": role, "content": content} for role, content in [("assistant", "Welcome"), *TURNS]]
    messages[2]["weight"] = 0
    example = Conversation(PLACE, (*messages, {"role": "user", "content": "Bye"}))
    (document,) = render(example, template(CHATML, vocabulary), vocabulary)
    assert taught(vocabulary, document) == ["Four é😀<|im_end|>"]
    assert vocabulary.text(document.tokens.tolist()).startswith("assistant\nWelcome")
    assert "Bye" not in vocabulary.text(document.tokens.tolist())


def test_all_of_a_conversation_on_request(vocabulary):
    (document,) = render(conversation(*TURNS), template(CHATML, vocabulary), vocabulary, train_on_all=True)
    assert document.learn[1:].all() and not document.learn[0]
    whole = template(CHATML, vocabulary).render(conversation(*TURNS).messages, add_generation_prompt=False)
    assert vocabulary.text(document.tokens.tolist(), special=True) == whole.removesuffix("\n")


def test_tools_reach_the_template(vocabulary):
    example = conversation(*TURNS[:2], tools=({"name": "add"},))
    (document,) = render(example, template("{{ tools | tojson }}" + CHATML, vocabulary), vocabulary)
    assert vocabulary.text(document.tokens.tolist()).startswith('[{"name": "add"}]')


@pytest.mark.parametrize(
    ("turns", "source", "named"),
    [
        ([("user", "a")], CHATML, "nothing to learn; roles: user;"),
        ([("assistant", "a")], CHATML, "nothing to learn; roles: assistant;"),
        ([("user", "a"), ("model", "b")], CHATML, "roles: user, model;"),
        (
            [TURNS[0], ("system", "s"), *TURNS[1:]],
            MISTRAL,
            "refuses this conversation; up to message 2: TemplateError: no such",
        ),
    ],
)
def test_what_cannot_be_taught_is_named(vocabulary, turns, source, named):
    with pytest.raises(UsageError) as caught:
        render(conversation(*turns), template(source, vocabulary), vocabulary)
    assert PLACE in str(caught.value) and named in str(caught.value)


def test_a_completion_follows_its_prompt_and_ends(vocabulary):
    example = Completion(PLACE, "Q: the\nA:", " th")
    (document,) = render(example, template(None, vocabulary), vocabulary)
    assert document.tokens.tolist() == [*vocabulary.tokenize("Q: the\nA:"), *vocabulary.tokenize(" th"), 2]
    assert taught(vocabulary, document) == [" th<|im_end|>"]
    (ended,) = render(Completion(PLACE, "a", "b<|im_end|>"), template(None, vocabulary), vocabulary)
    assert taught(vocabulary, ended) == ["b<|im_end|>"]
    (both,) = render(example, template(None, vocabulary), vocabulary, train_on_all=True)
    assert both.learn[1:].all()


def test_a_completion_that_merges_with_its_prompt_keeps_the_prompts_tokens(vocabulary):
    assert len(vocabulary.tokenize("the")) == 1
    (document,) = render(Completion(PLACE, "th", "e"), template(None, vocabulary), vocabulary)
    assert document.tokens.tolist() == [*vocabulary.tokenize("th"), *vocabulary.tokenize("e"), 2]
    assert document.learn.tolist() == [False, True, True]


def test_a_text_is_taught_whole_and_only_json_names_special_tokens(vocabulary):
    (plain,) = render(Text(PLACE, "a<|im_start|>"), template(None, vocabulary), vocabulary)
    assert plain.tokens.tolist() == [*vocabulary.tokenize("a<|im_start|>", parse_special=False), 2]
    (special,) = render(Text(PLACE, "a<|im_start|>", special=True), template(None, vocabulary), vocabulary)
    assert special.tokens.tolist() == [*vocabulary.tokenize("a"), 1, 2]
    assert plain.divisible and special.learn.tolist() == [False, True, True]


class Words:
    """A tokenizer of words; puts a space before texts and after special tokens, as Llama 2's does."""

    eos = "</s>"
    frame = ([1], [])

    def __init__(self, prefix=" ", pattern=r" ?\w+|\W"):
        self._prefix, self._pattern = prefix, pattern
        self.ids = {"<s>": 1, "</s>": 2}

    def is_end(self, token):
        return token == 2

    def tokenize(self, text, add_special=False, parse_special=True):
        ids = [1] if add_special else []
        for part in re.split("(</?s>)", text) if parse_special else [text]:
            spelled = re.findall(self._pattern, self._prefix + part if part else "")
            pieces = [part] if part in ("<s>", "</s>") else spelled
            ids += [self.ids.setdefault(piece, len(self.ids) + 10) for piece in pieces]
        return ids


def test_no_space_is_put_before_an_answer():
    tokenizer = Words()
    chat = ChatTemplate(MISTRAL, "<s>", "</s>", adds_bos=True)
    (document,) = render(conversation(*TURNS), chat, tokenizer)
    text = chat.render(conversation(*TURNS).messages, add_generation_prompt=False)
    assert document.tokens.tolist() == tokenizer.tokenize(text, add_special=True)
    (merged,) = render(Completion(PLACE, "th", "e"), chat, tokenizer)
    assert merged.tokens.tolist() == [1, *tokenizer.tokenize("th"), tokenizer.ids["e"], 2]


def test_the_begin_token_is_put_before_a_text_once():
    tokenizer = Words()
    for text in ("one", "<s>one"):
        (document,) = render(Text(PLACE, text, special=True), ChatTemplate(None), tokenizer)
        assert document.tokens.tolist() == [1, *tokenizer.tokenize("one"), 2]
        assert document.learn.tolist() == [False, True, True]


@pytest.mark.parametrize("tokenizer", [Words(), Words("", r" ?\w+|\s+(?!\S)|\W")], ids=["Llama 2", "GPT-2"])
def test_long_texts_are_tokenised_in_blocks_as_if_whole(tokenizer, monkeypatch):
    text = "The one\n\nand the other, in\n two\n\n\nlines\nOf words.\n" * 20
    monkeypatch.setattr(rendering, "BLOCK_CHARACTERS", 7)
    (document,) = render(Text(PLACE, text), ChatTemplate(None), tokenizer)
    assert document.tokens.tolist() == [*tokenizer.tokenize(text, True, False), 2]


def test_long_conversations_are_tokenised_as_if_whole(shared):
    engine, _ = shared
    turns = [(role, "The PEP proposes, and " * 40 + str(at)) for at, (role, _) in enumerate(TURNS * 3)]
    for source in (CHATML, None):
        chat = template(source, engine.vocabulary)
        (document,) = render(conversation(*turns), chat, engine.vocabulary)
        text = chat.render(conversation(*turns).messages, add_generation_prompt=False).rstrip("\n")
        assert document.tokens[: len(ids := engine.vocabulary.tokenize(text))].tolist() == ids
