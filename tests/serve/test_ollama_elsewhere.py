"""What Ollama's clients ask of a model that an upstream has, by the owner's rule."""

import json

import httpx
import ollama
import pytest

from sixgig.gateway.upstream import Upstreams
from sixgig.router import HEADER
from sixgig.settings import Settings
from tests.serve.ollama_server import ollama_server

HELLO = [{"role": "user", "content": "hello"}]
SETTINGS = Settings.model_validate(
    {
        "upstreams": [
            {
                "name": "far",
                "base_url": "http://far.test/v1",
                "models": {"big": "their-big"},
                "input_price": 0,
                "output_price": 0,
            }
        ],
        "rules": [{"when": "model_missing", "upstream": "far"}],
    }
)


class Far:
    """An upstream that answers "Hi there"; asked: what it was sent."""

    def __init__(self):
        self.asked = []

    def __call__(self, request):
        asked = json.loads(request.content)
        self.asked.append((request.url.path, asked))
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
        if not asked.get("stream"):
            choice = {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hi there"},
            }
            return httpx.Response(200, json={"choices": [choice], "usage": usage})
        chunks = [
            {"choices": [{"index": 0, "delta": {"content": "Hi "}}]},
            {"choices": [{"index": 0, "delta": {"content": "there"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ]
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=body + b"data: [DONE]\n\n")


@pytest.fixture
def far():
    return Far()


@pytest.fixture
def url(far):
    upstreams = Upstreams(httpx.MockTransport(far))
    with ollama_server(settings=SETTINGS, upstreams=upstreams) as (url, _):
        yield url


def test_a_model_elsewhere_answers_in_ollamas_lines(url, far):
    *pieces, last = ollama.Client(url).chat("big:latest", HELLO, stream=True)
    assert [piece.message.content for piece in pieces] == ["Hi ", "there"]
    assert (last.done, last.prompt_eval_count, last.eval_count) == (True, 3, 2)
    assert last.eval_duration is None
    ((path, asked),) = far.asked
    assert (path, asked["model"], asked["messages"]) == ("/v1/chat/completions", "their-big", HELLO)


def test_a_whole_answer_from_elsewhere_reads_the_same(url):
    answer = ollama.Client(url).generate("big", "hello")
    assert (answer.response, answer.done_reason, answer.eval_count) == ("Hi there", "stop", 2)


def test_what_is_private_does_not_leave(url, far):
    with pytest.raises(ollama.ResponseError) as refusal:
        ollama.Client(url, headers={HEADER: "true"}).chat("big", HELLO)
    assert refusal.value.status_code == 403
    assert far.asked == []


def test_a_model_that_is_nowhere_is_not_found(url, far):
    with pytest.raises(ollama.ResponseError, match="model 'small' not found"):
        ollama.Client(url).chat("small", HELLO)
    assert far.asked == []
