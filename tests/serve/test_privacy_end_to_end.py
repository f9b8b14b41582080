"""Through the whole gateway: whatever else happens, a private request never reaches the upstream."""

import asyncio
import tempfile
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sixgig.errors import ModelFileError
from sixgig.router import HEADER
from sixgig.server.keys import new_key
from tests.serve.fake_engines import card
from tests.serve.gateways import CHATS, chunk, far_settings, house, never, streamed

KEYS = {name: (*new_key(), name == "secret") for name in ("plain", "secret")}
ALL_RULES = [
    {"when": "model_missing"},
    {"when": "context_overflow"},
    {"when": "local_failed_before_first_token"},
    {"when": "queue_longer_than", "value": 0},
    {"when": "first_token_slower_than", "value": 0.01},
]
RULES = st.lists(st.sampled_from(ALL_RULES), min_size=1, max_size=4)
PATIENCE_S = 0.1  # longer than the slow rule; who waits for ever is sent away then
TROUBLE = ("none", "slow", "fails", "does not load", "breaks off", "is full", "overflows")
# Spellings a client may try: the mark on "guarded" holds for each.
NAMES = ("here", "guarded", "guarded:latest", "GUARDED", "else", "models/guarded", "guarded.gguf")
WISHES = ((), ("true",), ("false",), ("0",), ("",), ("no", "yes"), ("FALSE",), ("nein",), ("1",))


def is_private(by_default, model, key, wish):
    """Written apart from the gate: the owner's marks, and a header that does not plainly say no."""
    says_no = len(wish) == 1 and wish[0].lower() in ("false", "0", "no", "off")
    marked = "guarded" in model.lower() or (key is not None and KEYS[key][2])
    return marked or bool(wish and not says_no) or (by_default and not says_no)


def configuration(rules, by_default, with_keys, price, cap):
    found = far_settings(*rules, input_price=price, output_price=price, per_day=cap)
    found["upstreams"][0] |= {"first_token_timeout_s": 0.05, "timeout_s": 0.1}
    keys = [{"name": n, "sha256": digest, "private": mark} for n, (_, digest, mark) in KEYS.items()]
    models = {"guarded": {"path": "/nowhere", "private": True}}
    return found | {"keys": keys if with_keys else [], "models": models}, {
        "private_by_default": by_default,
        "queue": 0,
    }


async def visited(folder, api, stream, model, key, wish, trouble, configured):
    """(the upstream's requests, the ledger's private flags) after this request."""
    document, server = configured
    secret = [("authorization", f"Bearer {KEYS[key][0]}")] if key else []
    async with house(folder, document, cards=[card("here", 40), card("guarded", 40)], **server) as home:
        filling = await in_trouble(home, trouble, secret)
        visit = home.chat(api, stream, model, [*((HEADER, value) for value in wish), *secret])
        came = asyncio.create_task(home.far.came.wait())
        await asyncio.wait({visit.task, came}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        came.cancel()
        visit.leave()
        await visit.ended()
        flags = await home.written("private", 1)
        for one in filling:
            one.leave()
            await one.ended()
        return home.far.asked, flags


async def in_trouble(home, trouble, secret):
    """Prepare it; the private requests that fill the engines where that is the trouble."""

    def loses(_request):
        for engine in home.engines.running:
            engine.crash()
        return streamed(chunk("here "), httpx.ReadError("cut"))

    answers = {"slow": never, "fails": httpx.Response(500), "breaks off": loses}
    home.here.answers = [answers[trouble]] if trouble in answers else []
    home.here.n_prompt_tokens = 1000 if trouble == "overflows" else 3
    home.engines.fails = [ModelFileError("gone") for _ in range(9)] if trouble == "does not load" else []
    if trouble != "is full":
        return []
    home.here.answers = [never, never]
    filling = [home.chat(model=name, headers=[(HEADER, "true"), *secret]) for name in ("here", "guarded")]
    while len(home.here.asked) < len(filling):
        await asyncio.sleep(0)
    return filling


@settings(max_examples=80)
@given(
    api=st.sampled_from(list(CHATS)),
    stream=st.booleans(),
    model=st.sampled_from(NAMES),
    key=st.sampled_from([None, "plain", "secret"]),
    wish=st.sampled_from(WISHES),
    trouble=st.sampled_from(TROUBLE),
    rules=RULES,
    by_default=st.booleans(),
    price=st.sampled_from([0, 2]),
    cap=st.sampled_from([0, 100]),
)
def test_nothing_private_ever_leaves(api, stream, model, key, wish, trouble, rules, by_default, price, cap):
    configured = configuration(rules, by_default, key is not None, price, cap)
    with tempfile.TemporaryDirectory() as folder:
        asked, flags = asyncio.run(visited(Path(folder), api, stream, model, key, wish, trouble, configured))
    private = is_private(by_default, model, key, wish)
    assert not (private and asked)
    assert flags == [(int(private),)]


LEAVES = {
    "none": ("model_missing", "else"),
    "overflows": ("context_overflow", "here"),
    "slow": ("first_token_slower_than", "here"),
    "does not load": ("local_failed_before_first_token", "here"),
    "is full": ("local_failed_before_first_token", "here"),
}


@pytest.mark.parametrize("wish", [(), ("true",)])
@pytest.mark.parametrize("trouble", LEAVES)
@pytest.mark.parametrize("api", ["openai", "responses", "ollama"])
def test_what_is_not_private_leaves_by_every_rule_and_the_same_marked_private_does_not(
    tmp_path, api, trouble, wish
):
    """The control of the test above: its upstream can be reached."""
    when, model = LEAVES[trouble]
    if (api, trouble) == ("responses", "overflows"):
        pytest.skip("only a chat's prompt is counted")
    rules = [rule for rule in ALL_RULES if rule["when"] == when]
    configured = configuration(rules, False, False, 2, 100)
    asked, flags = asyncio.run(visited(tmp_path, api, True, model, None, wish, trouble, configured))
    assert (len(asked), flags) == ((0, [(1,)]) if wish else (1, [(0,)]))
