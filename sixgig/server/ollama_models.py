"""The models here as Ollama's clients list them: what /api/tags, /api/show and /api/ps tell. Pure."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from sixgig.engines import EngineProcess, ModelCard, Seated
from sixgig.server.ollama_answers import rfc3339

_NS = 10**9
_FOR_EVER_NS = int(datetime(2300, 1, 1, tzinfo=UTC).timestamp()) * _NS  # clients show it as "Forever"


def listed(card: ModelCard, name: str | None = None) -> dict[str, Any]:
    """An entry of /api/tags, by its own name or another. digest: tells files apart by name, size, age."""
    facts = f"{card.name}\0{card.size_bytes}\0{card.modified_ns}"
    return {
        "name": name or card.name,
        "model": name or card.name,
        "modified_at": rfc3339(card.modified_ns),
        "size": card.size_bytes,
        "digest": hashlib.sha256(facts.encode()).hexdigest(),
        "details": _details(card),
    }


def running(seated: Seated, engine: EngineProcess, now_ns: int, clock_s: float) -> dict[str, Any]:
    """An entry of /api/ps; size: what it was granted. clock_s: the monotonic clock at `now_ns`."""
    vram_bytes = engine.order.vram_bytes
    return {name: value for name, value in listed(seated.card).items() if name != "modified_at"} | {
        "size": seated.granted_bytes + vram_bytes,
        "size_vram": vram_bytes,
        "expires_at": rfc3339(_expires_ns(seated, now_ns, clock_s)),
        "context_length": seated.card.context,
    }


def shown(card: ModelCard) -> dict[str, Any]:
    """/api/show. The context told is the one served: as long as a request may be here."""
    return {
        "modelfile": "",
        "license": "",
        "parameters": f"{'num_ctx':<30} {card.context}",
        "template": card.chat_template or "",
        "details": _details(card),
        "model_info": {
            "general.architecture": card.architecture,
            "general.basename": card.name,
            "general.parameter_count": card.n_parameters,
            f"{card.architecture}.context_length": card.context,
        },
        "capabilities": capabilities(card),
        "modified_at": rfc3339(card.modified_ns),
    }


def capabilities(card: ModelCard) -> list[str]:
    """In Ollama's words, by what the chat template speaks of."""
    if card.pooling is not None:
        return ["embedding"]
    template = card.chat_template or ""
    tools = ["tools"] if "tools" in template else []
    thinks = any(word in template for word in ("enable_thinking", "reasoning_effort", "<think>"))
    return ["completion", *tools, *(["thinking"] if thinks else [])]


def _details(card: ModelCard) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": card.architecture,
        "families": [card.architecture],
        "parameter_size": _short(card.n_parameters),
        "quantization_level": card.file_type,
    }


def _short(n_parameters: int) -> str:
    """ "8.0B", "31.01M"."""
    if n_parameters >= 10**9:
        return f"{n_parameters / 1e9:.1f}B"
    return f"{n_parameters / 1e6:.2f}M" if n_parameters >= 10**6 else f"{n_parameters / 1e3:.2f}K"


def _expires_ns(seated: Seated, now_ns: int, clock_s: float) -> int:
    """A model that answers now stays for its time after that."""
    if seated.keep_alive_s < 0:
        return _FOR_EVER_NS
    left_s = seated.keep_alive_s if seated.deadline_s is None else seated.deadline_s - clock_s
    return min(now_ns + round(max(0.0, left_s) * _NS), _FOR_EVER_NS)
