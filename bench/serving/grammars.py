"""What schemas cost the engine: seconds of the processor and bytes, by its own code, each in a fork.

    python -m bench.serving.grammars

made_s: from schema to rules, in the thread of the request; compiled_s: from rules to a grammar, while the
engine answers nobody; peak_bytes: by how much the process grew.
"""

from __future__ import annotations

import json
import os
import resource
import time
from typing import Any

from sixgig.llamacpp.grammars import GrammarCode
from sixgig.llamacpp.library import load_library

MOST_BYTES, MOST_CPU_S = 2 << 30, 30


def _object(n: int, **schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{i}": {"type": "string", **schema} for i in range(n)}}


SCHEMAS: dict[str, list[dict[str, Any]]] = {
    "20 tools": [_object(6)] * 20,
    "128 tools": [_object(6)] * 128,
    "maxLength 2000": [_object(1, maxLength=2000)],
    "maxLength 2001, no bound to the engine": [_object(1, maxLength=2001)],
    "5 of maxLength 1000": [_object(5, maxLength=1000)],
    "20 of maxLength 2000": [_object(20, maxLength=2000)],
    "200 of maxLength 2000": [_object(200, maxLength=2000)],
    "an enum of 1000": [{"enum": [f"country number {i}" for i in range(1000)]}],
    "an enum of 10000": [{"enum": [f"country number {i}" for i in range(10_000)]}],
    "300 optional names": [_object(300)],
    "1000 optional names": [_object(1000)],
}


def measure(schemas: list[dict[str, Any]], code: GrammarCode) -> dict[str, float] | None:
    """None where the fork did not live to tell."""
    told = os.memfd_create("told")
    fork = os.fork()
    if fork == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        before, began_s = _size_bytes(), time.process_time()
        grammars = [code.grammar_of(json.dumps(schema).encode()) for schema in schemas]
        made_s = time.process_time()
        kept = [code.compile(grammar) for grammar in grammars]
        found = {
            "made_s": made_s - began_s,
            "compiled_s": time.process_time() - made_s,
            "peak_bytes": _size_bytes() - before,
            "n_grammars": len(kept),
        }
        os.write(told, json.dumps(found).encode())
        os._exit(0)
    _, status = os.waitpid(fork, 0)
    text = os.pread(told, 4096, 0)
    os.close(told)
    return json.loads(text) if status == 0 else None


def _size_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmPeak"))


if __name__ == "__main__":
    functions = GrammarCode(load_library().c)
    print(json.dumps({name: measure(schemas, functions) for name, schemas in SCHEMAS.items()}, indent=2))
