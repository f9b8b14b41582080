"""What an answer took, asked for afterwards: the way to learn what a stream has cost."""

import httpx

from tests.serve.served import Served


def test_a_streams_cost_is_told_once_it_has_ended(served: Served) -> None:
    body = {"model": "demo", "prompt": "Abstract", "max_tokens": 3, "stream": True}
    with httpx.stream("POST", f"{served.url}/v1/completions", json=body, timeout=60) as answer:
        number = answer.headers["x-request-id"]
        answer.read()
    told = httpx.get(f"{served.url}/requests/{number}").json()
    assert (told["id"], told["completion_tokens"], told["served_by"]) == (number, 3, "local")
    assert told["joules"] is None or told["joules"] >= 0


def test_of_a_request_that_never_was_nothing_is_told(served: Served) -> None:
    assert httpx.get(f"{served.url}/requests/nothing").status_code == 404


def test_what_is_not_there_is_told_in_its_apis_own_shape(served: Served) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405)):
        answer = httpx.request(method, f"{served.url}{path}")
        assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
    assert httpx.get(f"{served.url}/v1/messages").json()["type"] == "error"


def test_names_that_clients_make_up_leave_nothing_behind(served: Served) -> None:
    before = {model["name"] for model in httpx.get(f"{served.url}/status.json").json()["models"]}
    for name in ("made up", "x" * 201):
        body = {"model": name, "prompt": "a"}
        assert httpx.post(f"{served.url}/v1/completions", json=body).status_code in (400, 404)
    assert "made up" not in httpx.get(f"{served.url}/metrics").text
    assert {model["name"] for model in httpx.get(f"{served.url}/status.json").json()["models"]} == before
