"""Coding agents as their users start them, once, without a terminal, in a home and a folder of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.agents.installed import native, node, npm_packages
from tests.serve.scripted_engine import Step, ToolCall

WORD, MODEL = "heliotrope", "scripted"
PROMPT, FINAL = "Copy the word in notes.txt to copy.txt.", f"Copied: {WORD}."
# Nothing but the gateway can be reached.
NOWHERE = "http://127.0.0.1:9"
OFFLINE = {name: NOWHERE for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
OFFLINE |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@dataclass(frozen=True)
class Place:
    """Where an agent runs: the gateway's address, the folder it works in, a home that is its own."""

    url: str
    work: Path
    home: Path


@dataclass(frozen=True)
class Agent:
    """How it is started; steps: what a model would have it do. environment: beside that of every agent."""

    path: str
    command: Callable[[Place], list[str | os.PathLike[str]]]
    steps: Callable[[Path], list[Step]]
    environment: Callable[[Place], dict[str, str]] = field(default=lambda place: {})
    prepare: Callable[[Place], object] = field(default=lambda place: None)


def environment(place: Place, agent: Agent) -> dict[str, str]:
    """Nothing of the caller's but what finds programs."""
    usual = {"HOME": str(place.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb"}
    return usual | OFFLINE | agent.environment(place)


def _steps(read: str, path: str, write: str) -> Callable[[Path], list[Step]]:
    """Of agents with a tool for each, and a name for the path."""

    def steps(work: Path) -> list[Step]:
        written = {path: str(work / "copy.txt"), "content": WORD}
        return [ToolCall(read, {path: str(work / "notes.txt")}), ToolCall(write, written), FINAL]

    return steps


def _shell_steps(_work: Path) -> list[Step]:
    copy = f"printf {WORD} > copy.txt"
    return [
        ToolCall("exec_command", {"cmd": "cat notes.txt"}),
        ToolCall("exec_command", {"cmd": copy}),
        FINAL,
    ]


def _claude() -> Path:
    return native("claude-code", "@anthropic-ai", "claude-code-linux-MACHINE", "claude")


def _opencode() -> Path:
    return native("opencode", "opencode-linux-MACHINE", "bin", "opencode")


def _codex() -> Path:
    vendor = native("codex", "@openai", "codex-linux-MACHINE", "vendor")
    return next(vendor.glob("*/bin/codex"))


def _configure_opencode(place: Place) -> None:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "sixgig",
        "options": {"baseURL": f"{place.url}/v1", "apiKey": "none"},
        "models": {MODEL: {"name": MODEL}},
    }
    configuration = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": f"sixgig/{MODEL}",
        "small_model": f"sixgig/{MODEL}",
        "provider": {"sixgig": provider},
    }
    (place.work / "opencode.json").write_text(json.dumps(configuration))


def _configure_codex(place: Place) -> None:
    folder = place.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        f'model = "{MODEL}"\nmodel_provider = "sixgig"\n'
        f'[model_providers.sixgig]\nname = "sixgig"\nbase_url = "{place.url}/v1"\nwire_api = "responses"\n'
        "[analytics]\nenabled = false\n"
    )


AGENTS = {
    "Claude Code": Agent(
        "/v1/messages",
        lambda _: [_claude(), "-p", PROMPT, "--permission-mode", "acceptEdits"],
        _steps("Read", "file_path", "Write"),
        lambda place: {
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_AUTH_TOKEN": "none",
            "ANTHROPIC_MODEL": MODEL,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": MODEL,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        },
    ),
    "opencode": Agent(
        "/v1/chat/completions",
        lambda _: [_opencode(), "run", PROMPT],
        _steps("read", "filePath", "write"),
        lambda _: {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
        _configure_opencode,
    ),
    "Codex CLI": Agent(
        "/v1/responses",
        lambda _: [
            _codex(), "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT
        ],
        _shell_steps,
        lambda place: {"CODEX_HOME": str(place.home / ".codex")},
        _configure_codex,
    ),
    "Qwen Code": Agent(
        "/v1/chat/completions",
        lambda _: [
            node(), npm_packages() / "@qwen-code" / "qwen-code" / "cli-entry.js", "-p", PROMPT, "--yolo",
            "--auth-type", "openai",
        ],
        _steps("read_file", "file_path", "write_file"),
        lambda place: {
            "OPENAI_BASE_URL": f"{place.url}/v1",
            "OPENAI_API_KEY": "none",
            "OPENAI_MODEL": MODEL,
            "QWEN_TELEMETRY_ENABLED": "false",
            "PATH": f"{node().parent}:{os.environ['PATH']}",
        },
    ),
}  # fmt: skip
