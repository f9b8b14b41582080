"""LiteLLM, which many programs ask through, tells an over-long prompt from other faults."""

import json
import os
import subprocess
from pathlib import Path

import pytest

PATIENCE_S = 400
SCRIPT = Path(__file__).with_name("ask_litellm.py")
ROUTES = {"chat completions": ("openai/demo", "/v1"), "messages": ("anthropic/demo", "")}
# The engine counts the second; the gateway refuses the third unread, by its bytes.
WORDS = {"that fits": 3, "counted": 8_000, "unread": 160_000}
CASES = [(route, length, stream) for route in ROUTES for length in WORDS for stream in (False, True)]

pytestmark = pytest.mark.timeout(1500)  # the first test installs it, and to import it takes half a minute


@pytest.fixture(scope="module")
def told(litellm, served):
    """What LiteLLM made of each case."""
    asked = [
        (model, served.url + base, WORDS[length], stream)
        for route, length, stream in CASES
        for model, base in [ROUTES[route]]
    ]
    offline = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    command = [litellm, SCRIPT, json.dumps(asked)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=offline)
    assert run.returncode == 0, run.stderr
    return dict(zip(CASES, json.loads(run.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]}{', streamed' * case[2]}")
def test_only_an_over_long_prompt_is_a_context_window_exceeded_error(told, case):
    kind, words = told[case]
    expected = "answered" if case[1] == "that fits" else "ContextWindowExceededError"
    assert kind == expected, words
