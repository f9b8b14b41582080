"""Engines held to their grants from outside: what grows in one costs neither the machine nor the others."""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time

import pytest

from sixgig.engines import ModelSpec, guard, model_card
from sixgig.engines.guard import _ALLOCATED, MemoryGuard
from sixgig.errors import EngineLostError
from sixgig.hardware import LimitedGroup, limited_group
from sixgig.server.app import make_app
from tests.peaks import PeakWatch
from tests.serve.engine_processes import running
from tests.serve.gateways import CHATS
from tests.serve.loops import in_loop
from tests.serve.ollama_server import DEMO
from tests.serve.served import gateway_of
from tests.serve.visits import Visit

MIB = 1 << 20
# Known to make the engine's grammar grow for as long as there is memory.
ENDLESS = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "string", "minLength": 5, "maxLength": 2}},
}
# Nothing here may take the machine along, not even where the guard fails.
GROWING = f"""
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, ({1024 * MIB},) * 2)
sys.stdin.readline()
held = []
while True:
    held.append(bytearray(b"x") * {2 * MIB})
    time.sleep(0.02)
"""


@contextlib.contextmanager
def growing():
    """A process that takes 100 MiB a second once it is told to."""
    process = subprocess.Popen([sys.executable, "-c", GROWING], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


async def unchecked(*_arguments):
    """In place of trying a grammar."""


def no_groups(monkeypatch):
    monkeypatch.setattr(guard.LimitedGroup, "around", lambda *_arguments: None)


def watched_to_its_end(granted_bytes):
    """Its guard once the process has ended by itself, and the most it held."""
    with growing() as process:
        watching = MemoryGuard(process.pid, granted_bytes)
        watching.planned()
        peak = PeakWatch(process).start()
        process.stdin.write(b"\n")
        process.stdin.flush()
        status = process.wait()
        watching.close()
        return watching, status, peak.join()


def test_a_process_that_grows_is_ended_before_it_passes_its_grant_by_a_tenth(monkeypatch):
    no_groups(monkeypatch)
    watching, status, most = watched_to_its_end(200 * MIB)
    assert (status, watching.breach.endswith(" held, 200.00 MiB granted")) == (-9, True)
    assert 190 * MIB < most <= 220 * MIB


def test_the_kernel_ends_it_where_a_group_may_be_made_even_if_nobody_watches(monkeypatch):
    monkeypatch.setattr(MemoryGuard, "_watch", lambda *_arguments: None)
    with growing() as process:
        group = LimitedGroup.around(process.pid, 1 << 30)
        if group is None:
            pytest.skip("this system lets us make no memory control group")
        folder = group._folder
        process.kill()
        process.wait()
        group.remove()
        assert not folder.exists()
    watching, status, most = watched_to_its_end(200 * MIB)
    assert status == -9
    assert watching.breach is not None
    assert most <= 240 * MIB  # pages that it held before it came into the group, and files
    assert watching._group is not None and not watching._group._folder.exists()


def test_a_process_that_keeps_to_its_grant_is_left_alone():
    with growing() as process:
        watching = MemoryGuard(process.pid, 200 * MIB)
        watching.planned()
        time.sleep(0.3)
        assert process.poll() is None
        process.kill()
        process.wait()
        watching.close()
        assert watching.breach is None


def test_it_looks_more_often_the_less_room_is_left():
    watching = MemoryGuard.__new__(MemoryGuard)
    watching.granted_bytes, watching._least_bytes = 200 * MIB, 0
    pauses = [watching._pause_s(held * MIB) for held in (0, 100, 180, 210, 300)]
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[0] == guard.LONGEST_S
    for held in range(0, 210):  # at the fastest growth known it is seen before the last line
        assert held * MIB + watching._pause_s(held * MIB) * guard.GROWTH_BYTES_PER_S < 220 * MIB


def test_a_group_of_version_2_is_made_only_where_memory_was_delegated(tmp_path, monkeypatch):
    mount = tmp_path / "sys/fs/cgroup"
    own = mount / "system.slice/sixgig.service/gateway"
    own.mkdir(parents=True)
    (mount / "cgroup.controllers").write_text("memory")
    for folder in (own, own.parent, own.parent.parent):
        (folder / "memory.max").write_text("max")
        (folder / "cgroup.subtree_control").write_text("memory" if folder == own.parent else "")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/sixgig.service/gateway\n")
    assert list(limited_group._parents(tmp_path)) == []
    marked = {own.parent: ["user.delegate"]}
    monkeypatch.setattr(limited_group.os, "listxattr", lambda folder: marked.get(folder, []))
    assert list(limited_group._parents(tmp_path)) == [(own.parent, 2)]


@pytest.mark.parametrize("always_page", [False, True])
@in_loop
async def test_all_that_lasts_is_told_from_what_requests_take(tiny, always_page):
    async with running(tiny("qwen3moe"), always_page=always_page, context=256) as engine:
        names, lasting = {tier["name"] for tier in engine.plan["tiers"]}, {use.label for use in _ALLOCATED}
        experts = "expert cache" if always_page else "dense weights"
        assert {"process", "program files", experts, "KV cache", "compute buffers"} <= names & lasting
        assert {"server", "context checkpoints"} <= names - lasting
        limit, _ = resource.prlimit(engine.pid, resource.RLIMIT_DATA)
        assert limit != resource.RLIM_INFINITY


@in_loop
async def test_a_request_that_would_take_the_machine_fails_alone():
    granted = 180 * MIB
    async with running(DEMO, ram_bytes=granted, sequences=2, context=256) as engine:
        chat = {"messages": [{"role": "user", "content": "What is a decorator?"}], "max_tokens": 200}

        async def ask(**fields):
            return await engine.client.post(
                "/v1/chat/completions", json=chat | {"ignore_eos": True, **fields}
            )

        other, offender = await asyncio.gather(ask(), ask(response_format=ENDLESS))
        assert offender.status_code >= 400
        assert other.status_code == 200
        assert (await ask()).status_code == 200
        assert engine.alive
        assert engine.memory.peak_bytes <= granted * 11 // 10


@in_loop
async def test_an_engine_that_is_ended_for_its_memory_says_so_in_every_apis_own_words(monkeypatch, capsys):
    """As where the kernel does not refuse it memory: the offender, who gets past our checks, ends it."""
    monkeypatch.setattr(MemoryGuard, "loaded", lambda *_arguments: None)
    monkeypatch.setattr("sixgig.gateway.local.check_limits", lambda call, _card: call.fields)
    monkeypatch.setattr("sixgig.gateway.grammars.GrammarGate.require", unchecked)
    monkeypatch.setattr("sixgig.engines.fleet.FIRST_PAUSE_S", 0.01)
    events = []
    monkeypatch.setattr(
        "sixgig.gateway.logs.event", lambda name, *_level, **fields: events.append((name, fields))
    )
    card = model_card(ModelSpec("demo", DEMO, context=1024, sequences=3))
    granted = card.whole_bytes
    with gateway_of([card], granted) as gateway:
        app = make_app(gateway)
        async with gateway.running():

            def visit(api, stream, **fields):
                path, body = CHATS[api]
                return Visit(app, path, {**body, "model": "demo", "stream": stream, **fields})

            await visit("openai", False, max_tokens=4).ended()
            long = {"max_tokens": 900, "ignore_eos": True}
            others = [visit("openai", True, **long), visit("anthropic", False, **long)]
            await others[0].until(b"data")
            offender = await visit("openai", False, response_format=ENDLESS).ended()
            for one in others:
                await one.ended()
            for one in (offender, *others):
                assert b"took more memory than it was granted" in one.body, one.body[-300:]
            assert offender.status == 503
            assert b'"type":"error"' in others[1].body.replace(b" ", b"")
            again = await visit("openai", False, max_tokens=4).ended()
            assert again.status == 200
            assert "than it was granted" in str(gateway.fleet.models["demo"].last_loss)
            lost = [fields for name, fields in events if name == "engine_lost"]
            assert [(one["model"], "granted" in one["reason"]) for one in lost] == [("demo", True)]


@in_loop
async def test_an_engine_that_is_refused_memory_where_it_cannot_go_on_says_so(tiny, tmp_path):
    async with running(tiny("qwen3"), context=256) as engine:
        engine._said = b"terminate called after throwing an instance of 'std::bad_alloc'\n"
        os.kill(engine.pid, 6)
        loss = await engine.lost
        assert isinstance(loss, EngineLostError)
        assert "took more memory than it was granted; std::bad_alloc: all of 1.00 GiB is taken" in str(loss)
