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
