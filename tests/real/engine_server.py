"""What the engine's own server answers: `python engine_server.py MODEL CHECKPOINTS [ADAPTER] < asked.json`.

On stdin a list of conversations (lists of messages) and texts to continue (strings); on stdout "ANSWERS" and
a list of texts, each the likeliest. A process of its own, as tests/null/server_oracle.py.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LONGEST = 32
PATIENCE_S = 1500  # a machine that does other things too


def answers(model: Path, asked: Sequence[list[Any] | str], *adapter: Path, checkpoints: int = 0) -> list[str]:
    """In a process of which sixgig is no part.

    checkpoints: of the context, as the server keeps them where a window slides: it then computes a prompt in
    other pieces, which rounds otherwise. With 0 it keeps nothing of an earlier prompt either.
    """
    command = [sys.executable, __file__, str(model), str(checkpoints), *map(str, adapter)]
    done = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    found: list[str] = json.loads(done.stdout.rpartition("ANSWERS ")[2])
    return found


def main() -> None:
    import xllamacpp

    model, checkpoints, *adapters = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = 1024, 512, 512, 1
    params.n_ctx_checkpoints, params.cache_ram_mib, params.verbosity = int(checkpoints), 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = (
        1  # threads that spin are slow beside others
    )
    server, found = xllamacpp.Server(params), []
    for one in json.load(sys.stdin):
        common = {"temperature": 0, "max_tokens": LONGEST, "cache_prompt": checkpoints != "0"}
        if isinstance(one, str):
            found.append(server.handle_completions({**common, "prompt": one})["choices"][0]["text"])
        else:
            (choice,) = server.handle_chat_completions({**common, "messages": one})["choices"]
            found.append(choice["message"]["content"] or "")
    print("ANSWERS", json.dumps(found))


if __name__ == "__main__":
    main()
