"""Greedy tokens as the wheel's own in-process server gives them: `python server_oracle.py MODEL N ID...`.

Runs as a process of its own: that server holds the GIL while it loads, and our log callback needs it.
"""

import json
import sys

import xllamacpp


def main() -> None:
    path, count, *prompt = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = 512, 64, 64, 1
    params.n_ctx_checkpoints, params.cache_ram_mib = 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    request = {
        "prompt": [int(token) for token in prompt],
        "n_predict": int(count),
        "temperature": 0,
        "return_tokens": True,
        "verbose": True,
    }
    answer = xllamacpp.Server(params).handle_completions(request)
    print("TOKENS", json.dumps(answer["__verbose"]["tokens"]))


if __name__ == "__main__":
    main()
