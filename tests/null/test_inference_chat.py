"""Templates against renderings written out by hand, as transformers' apply_chat_template gives them."""

from datetime import datetime

import pytest

from sixgig.errors import ModelFileError
from sixgig.inference import (
    ChatTemplate,
    Conversation,
    Engine,
    EngineOptions,
    Sampler,
    SamplingOptions,
)
from tests.tiny.vocabulary import CHAT_TEMPLATE

HELLO = [{"role": "user", "content": "Hello"}]
TURNS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi <b>"},
    {"role": "assistant", "content": " Hello. "},
    {"role": "user", "content": "Bye"},
]

LLAMA_2 = """{% if messages[0]['role'] == 'system' %}
    {% set loop_messages = messages[1:] %}
    {% set system_message = messages[0]['content'] %}
{% else %}
    {% set loop_messages = messages %}
    {% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('Conversation roles must alternate user/assistant') }}
    {% endif %}
    {% if loop.index0 == 0 and system_message %}
        {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
    {% else %}
        {% set content = message['content'] %}
    {% endif %}
    {% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {%- elif message['role'] == 'assistant' %}
{{ ' ' + content.strip() + ' ' + eos_token }}
    {%- endif %}
{% endfor %}"""

TOOLS = """{%- if tools %}
    {{- '<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools>\\n' }}
{%- endif %}
{%- set ns = namespace(last=0) %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{%- continue %}{%- endif %}
    {%- set ns.last = loop.index %}
    {{- message.role + ': ' + message.content + '\\n' }}
    {%- if loop.index > 2 %}{%- break %}{%- endif %}
{%- endfor %}
{{- ns.last }}
{%- if enable_thinking is defined and enable_thinking is false %}
    {{- '<think></think>' }}
{%- endif %}"""


def test_chatml():
    text = ChatTemplate(CHAT_TEMPLATE).render(TURNS)
    assert text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi <b><|im_end|>\n"
        "<|im_start|>assistant\n Hello. <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (
        ChatTemplate(CHAT_TEMPLATE).render(HELLO, add_generation_prompt=False).endswith("Hello<|im_end|>\n")
    )


def test_llama_2_with_its_blocks_trimmed_and_stripped():
    assert ChatTemplate(LLAMA_2, "<s>", "</s>").render(TURNS) == (
        "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi <b> [/INST] Hello. </s><s>[INST] Bye [/INST]"
    )


def test_a_template_that_refuses_gives_its_own_words():
    with pytest.raises(ModelFileError, match="Conversation roles must alternate"):
        ChatTemplate(LLAMA_2).render([*HELLO, *HELLO])


def test_tools_loop_controls_and_variables():
    tool = {"name": "größe", "description": "<b> & 'c'", "n": 1}
    messages = [*HELLO, {"role": "tool", "content": "x"}, {"role": "user", "content": "a"}, *HELLO]
    assert ChatTemplate(TOOLS).render(messages, tools=[tool], enable_thinking=False) == (
        '<tools>\n{"name": "größe", "description": "<b> & \'c\'", "n": 1}\n</tools>\n'
        "user: Hello\nuser: a\n3<think></think>"
    )
    assert ChatTemplate(TOOLS).render(HELLO) == "user: Hello\n1"


def test_dates_and_generation_blocks():
    source = "{{ strftime_now('%Y') }}{% generation %}{{ messages[0].content }}{% endgeneration %}"
    assert ChatTemplate(source).render(HELLO) == f"{datetime.now().year}Hello"


@pytest.mark.parametrize(
    "source",
    [
        "{% for",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ 1 / 0 }}",
        "{{ undefined.attribute }}",
        "{% include 'x' %}",
        "{% for i in range(10000000) %}{% endfor %}",
        "{{ messages[9].content }}",
    ],
)
def test_broken_and_hostile_templates_are_model_file_errors(source):
    with pytest.raises(ModelFileError, match="chat template does not work"):
        ChatTemplate(source).render(HELLO)


def test_no_template_is_chatml_as_the_engine_has_it_and_says_so():
    template = ChatTemplate(None)
    assert "no chat template" in template.notice and not ChatTemplate("x").notice
    assert template.render(TURNS) == ChatTemplate(CHAT_TEMPLATE).render(TURNS)


@pytest.mark.parametrize("architecture", ["llama", "qwen35moe"])
def test_a_conversation_evaluates_only_what_is_new(tiny, architecture):
    with Engine(tiny(architecture), EngineOptions(context=512, threads=2)) as engine:
        conversation = Conversation(engine, engine.chat_format(), system="Be kind.")
        sampler = Sampler(engine, SamplingOptions(temperature=0.8, seed=3))
        first = conversation.ask("Hello", 20, sampler)
        reply = "".join(first)
        second = conversation.ask("And again", 5, sampler)
        "".join(second)
        new = "<|im_end|>\n<|im_start|>user\nAnd again<|im_end|>\n<|im_start|>assistant\n"
        assert second.result.prefill_tokens <= len(engine.vocabulary.tokenize(new)) + 1
        assert second.result.prompt_tokens > first.result.prompt_tokens + len(first.result.token_ids)
    roles = [message["role"] for message in conversation.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    assert conversation.messages[2]["content"] == reply
