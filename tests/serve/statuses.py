"""Documents of /status.json, made up: a busy server as it might be, and one that has nothing yet."""

from __future__ import annotations

import math
from typing import Any

GIB, MIB = 1 << 30, 1 << 20
NOW = 1_790_000_000.0


def model(name: str, **changed: Any) -> dict[str, Any]:
    """One that is not loaded, but for what is `changed`."""
    return {
        "name": name,
        "state": "unloaded",
        "loaded_fraction": 0.0,
        "size_bytes": 4 * GIB,
        "context": 8192,
        "parallel": 4,
        "users": 0,
        "expires_in_s": None,
        "pid": None,
        "granted_bytes": 0,
        "resident_bytes": None,
        "mode": None,
        "tiers": [],
        "hit_rate": None,
        "bytes_read": None,
        "losses": 0,
        "last_loss": None,
        "tokens_per_s": 0.0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "idle_watts": None,
        "staying_watts": None,
    } | changed


def tiers(**sizes_mib: int) -> list[dict[str, Any]]:
    """`tiers(KV_cache=512)`."""
    return [
        {"name": name.replace("_", " "), "size_bytes": size * MIB, "kind": "anon"}
        for name, size in sizes_mib.items()
    ]


def empty() -> dict[str, Any]:
    """Just started: no model configured, no sensor, nothing served."""
    return {
        "version": "0.1.0",
        "now": NOW,
        "uptime_s": 3.0,
        "draining": False,
        "budget": {"ram_bytes": 8 * GIB, "vram_bytes": 0, "gateway_bytes": 96 * MIB},
        "models": [],
        "queue": {"waiting": 0, "bound": 64, "running": 0, "rejected": 0},
        "tokens_per_s": 0.0,
        "prompt_tokens_per_s": 0.0,
        "energy": {
            "source": "none",
            "estimated": False,
            "absent_reason": "none is passed on to this virtual machine",
            "watts": None,
            "idle_watts": None,
            "empty_watts": None,
            "joules_total": None,
            "price_per_kwh": None,
            "currency": "EUR",
        },
        "ledger": {
            "today": {
                "requests": 0,
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "joules": None,
                "measured_requests": 0,
                "energy_cost_micros": None,
                "upstream_cost_micros": 0,
                "failed": 0,
            },
            "failing": None,
        },
        "upstreams": [],
        "history": {"t": [], "tokens_per_s": [], "hit_rate": [], "watts": []},
    }


def busy() -> dict[str, Any]:
    """An afternoon at home: one large model paged, a small one beside it, a third on its way in."""
    return empty() | {
        "uptime_s": 3 * 86400 + 4.6 * 3600,
        "budget": {"ram_bytes": 24 * GIB, "vram_bytes": 0, "gateway_bytes": 112 * MIB},
        "models": [_large(), _small(), _loading(), model("llama-3.1-8b-instruct")],
        "queue": {"waiting": 2, "bound": 64, "running": 5, "rejected": 0},
        "tokens_per_s": 21.4,
        "prompt_tokens_per_s": 182.0,
        "energy": {
            "source": "RAPL package-0",
            "estimated": False,
            "absent_reason": None,
            "watts": 61.3,
            "idle_watts": 18.2,
            "empty_watts": 16.9,
            "joules_total": 2_911_204.0,
            "price_per_kwh": "0.31",
            "currency": "EUR",
        },
        "ledger": {
            "today": {
                "requests": 1284,
                "prompt_tokens": 1_812_400,
                "completion_tokens": 312_900,
                "joules": 1_486_300.0,
                "measured_requests": 1251,
                "energy_cost_micros": 127_987,
                "upstream_cost_micros": 418_200,
                "failed": 3,
            },
            "failing": None,
        },
        "upstreams": [
            _upstream("workstation", 212, 0, 0, None, None),
            _upstream("example-cloud", 33, 418_200, 6_120_450, 1_000_000, 10_000_000),
        ],
        "history": _history(),
    }


def _large() -> dict[str, Any]:
    return model(
        "qwen3.5-122b-a10b",
        state="ready",
        loaded_fraction=1.0,
        users=4,
        parallel=4,
        context=16384,
        pid=4242,
        granted_bytes=int(15.25 * GIB),
        resident_bytes=int(14.6 * GIB),
        mode="paged",
        tiers=tiers(
            process=120,
            program_files=64,
            dense_weights=4260,
            KV_cache=1536,
            compute_buffers=412,
            expert_cache=8940,
        ),
        hit_rate=0.913,
        bytes_read=812 * GIB,
        tokens_per_s=19.8,
        prompt_tokens=912_000,
        completion_tokens=154_000,
    )


def _small() -> dict[str, Any]:
    return model(
        "gemma-3-4b-it",
        state="ready",
        loaded_fraction=1.0,
        users=1,
        context=8192,
        pid=4243,
        expires_in_s=None,
        granted_bytes=int(3.6 * GIB),
        resident_bytes=int(3.31 * GIB),
        mode="unpaged",
        tiers=tiers(process=118, program_files=64, dense_weights=2540, KV_cache=544, compute_buffers=280),
        tokens_per_s=1.6,
        losses=1,
        last_loss="killed by signal 9 (out of memory)",
    )


def _loading() -> dict[str, Any]:
    return model(
        "nomic-embed-text-v2-moe",
        state="loading",
        loaded_fraction=0.43,
        context=2048,
        parallel=8,
        pid=4250,
        granted_bytes=int(1.1 * GIB),
        mode=None,
        tiers=tiers(process=110, program_files=64, dense_weights=760, compute_buffers=120),
    )


def _upstream(
    name: str, requests: int, today: int, month: int, per_day: int | None, per_month: int | None
) -> dict[str, Any]:
    return {
        "name": name,
        "requests": requests,
        "spent_today_micros": today,
        "spent_month_micros": month,
        "per_day_micros": per_day,
        "per_month_micros": per_month,
    }


def _history() -> dict[str, list[float | None]]:
    """Two minutes: idle at first, then busy; for a few seconds no sensor answered."""
    work = [1 / (1 + math.exp((24 - second) / 3)) for second in range(120)]
    sway = [math.sin(second / 4.1) + 0.6 * math.sin(second / 1.7) for second in range(120)]
    rates = [max(0.0, part * (21.4 + 1.3 * wave)) for part, wave in zip(work, sway, strict=True)]
    return {
        "t": [NOW - 119 + second for second in range(120)],
        "tokens_per_s": [*rates[:-1], 21.4],
        "hit_rate": [
            None if second < 16 else 0.913 - 0.35 * math.exp(-(second - 16) / 14) + 0.008 * sway[second]
            for second in range(119)
        ]
        + [0.913],
        "watts": [
            None if 70 <= second < 73 else 18.2 + 43 * work[second] + 1.8 * sway[second]
            for second in range(119)
        ]
        + [61.3],
    }
