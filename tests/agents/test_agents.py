"""Coding agents do a task of two tools through the gateway: a file is read, then one is written."""

import asyncio
import json

import pytest

from tests.agents.clients import AGENTS, FINAL, WORD, Place, environment
from tests.agents.listening import listening
from tests.serve.loops import in_loop
from tests.serve.scripted_engine import ScriptedEngine, results

PATIENCE_S = 150
THOUGHT = "I should look first."
# Its model thinks or does not; the agents that speak the same API as another, once.
RUNS = [*((name, THOUGHT) for name in AGENTS), ("Claude Code", ""), ("Codex CLI", "")]


@pytest.mark.timeout(1200)  # the first installs them
@pytest.mark.parametrize(("name", "thought"), RUNS)
@in_loop
async def test_an_agent_reads_a_file_and_writes_another(installed, tmp_path, name, thought):
    agent = AGENTS[name]
    work, home = tmp_path / "work", tmp_path / "home"
    for folder in (work, home):
        folder.mkdir()
    (work / "notes.txt").write_text(f"the word is {WORD}\n")
    engine = ScriptedEngine(agent.steps(work), thought)
    async with listening(tmp_path / "gateway", engine) as url:
        place = Place(url, work, home)
        agent.prepare(place)
        said = await _output(agent.command(place), work, environment(place, agent))
    assert (work / "copy.txt").read_text().strip() == WORD, said
    assert FINAL in said
    first, second, third = engine.task
    assert {path for path, _ in engine.task} == {agent.path}
    assert all(body["stream"] for _, body in engine.task)
    assert [len(results(*asked)) for asked in (first, second, third)] == [0, 1, 2]
    assert WORD in json.dumps(results(*second))


async def _output(command, folder, variables):
    """All that it says; it must end well, in time."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    return said.decode()
