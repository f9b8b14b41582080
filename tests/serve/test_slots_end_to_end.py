"""Two who do not share ask a real engine with prompts that begin alike: nothing tells one of the other."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serve.fixed_keys import fixed_key
from tests.serve.served import DEMO, sixgig_serve

SECRET = "The password of the vault is seven green herons, and it is changed on the first of May. " * 2
NAMES = {"ann": None, "bob": None, "tim": "team", "tom": "team"}
CACHED = {  # API: its body, and where its answer says how much of the prompt was there already
    "/v1/chat/completions": (
        lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 4},
        lambda answer: answer["usage"]["prompt_tokens_details"]["cached_tokens"],
    ),
    "/v1/completions": (
        lambda text: {"prompt": text, "max_tokens": 4},
        lambda answer: answer["usage"]["prompt_tokens_details"]["cached_tokens"],
    ),
    "/v1/responses": (
        lambda text: {"input": text, "max_output_tokens": 4},
        lambda answer: answer["usage"]["input_tokens_details"]["cached_tokens"],
    ),
    "/v1/messages": (
        lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 4},
        lambda answer: answer["usage"]["cache_read_input_tokens"],
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keys = "".join(
        f'[[keys]]\nname = "{name}"\nsha256 = "{fixed_key(name)[1]}"\n'
        + (f'group = "{group}"\n' if group else "")
        for name, group in NAMES.items()
    )
    models = "".join(
        f"[models.{name}]\npath = {json.dumps(str(DEMO))}\nparallel = {parallel}\ncontext = 512\n"
        for name, parallel in (("single", 1), ("triple", 3))
    )
    with sixgig_serve(tmp_path_factory.mktemp("slots"), keys + models) as served:
        yield served


@pytest.fixture
def ask(served):
    def ask(key, path, model, status=200, text=SECRET, **fields):
        headers = {"authorization": f"Bearer {fixed_key(key)[0]}"}
        body = {"model": model, "temperature": 0} | CACHED[path][0](text) | fields
        answer = httpx.post(served.url + path, json=body, headers=headers, timeout=100)
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


@pytest.mark.parametrize("model", ["single", "triple"])
@pytest.mark.parametrize("path", CACHED)
def test_anothers_prompt_is_not_found_and_ones_own_is(ask, path, model):
    def cached(key, **fields):  # a text of this test's own
        return CACHED[path][1](ask(key, path, model, text=f"{path} {model} {SECRET}", **fields))

    cached("ann")
    assert cached("ann") > 20
    assert cached("bob") == 0
    assert cached("bob", cache_prompt=True) > 20
    assert cached("tim", cache_prompt=True) == 0
    assert cached("tom") > 20


def test_its_evaluation_is_that_of_a_prompt_nobody_had(ask):
    path = "/v1/chat/completions"
    first = ask("ann", path, "single", cache_prompt=False)
    other = ask("bob", path, "single")
    assert other["timings"]["prompt_n"] == first["timings"]["prompt_n"] == first["usage"]["prompt_tokens"]
    assert other["choices"] == first["choices"]


@pytest.mark.parametrize("path", CACHED)
def test_a_client_cannot_choose_the_slot(ask, path):
    refused = ask("bob", path, "triple", status=400, id_slot=0)
    assert "id_slot is the server's to choose" in json.dumps(refused)
    assert CACHED[path][1](ask("bob", path, "triple", id_slot=-1)) >= 0


def test_a_refused_request_does_not_make_a_slot_its_askers(ask):
    path = "/v1/completions"
    ask("ann", path, "single")
    ask("bob", path, "single", status=400, prompt=[1] * 600)
    assert CACHED[path][1](ask("bob", path, "single")) == 0


def test_several_answers_leave_nothing_to_others(ask):
    path = "/v1/chat/completions"
    for _ in range(2):
        ask("ann", path, "triple", n=3)
        assert all(CACHED[path][1](ask(key, path, "triple")) == 0 for key in ("bob", "tim"))


def test_side_by_side_each_is_answered_about_its_own_prompt(ask):
    path = "/v1/completions"
    prompts = {key: f"{SECRET} {key} " * (number + 1) for number, key in enumerate(NAMES)}
    alone = {key: ask(key, path, "single", prompt=prompt)["usage"] for key, prompt in prompts.items()}

    def usage(number):
        key = list(NAMES)[number % len(NAMES)]
        return key, ask(key, path, "triple", prompt=prompts[key], max_tokens=4 + number % 3)["usage"]

    with ThreadPoolExecutor(8) as clients:
        for key, told in clients.map(usage, range(16)):
            assert told["prompt_tokens"] == alone[key]["prompt_tokens"]
            assert told["prompt_tokens_details"]["cached_tokens"] < told["prompt_tokens"]
