"""What the engine's own server answers: `python chat_oracle.py MODEL [ADAPTER] < messages.json`.

On stdin a list of conversations; on stdout "ANSWERS" and a list of texts, each the likeliest. A process
of its own, as tests/null/server_oracle.py.
"""

import json
import sys

import xllamacpp

LONGEST = 32


def main() -> None:
    model, *adapters = sys.argv[1:]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = 1024, 512, 512, 1
    params.n_ctx_checkpoints, params.cache_ram_mib, params.verbosity = 0, 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = (
        1  # threads that spin are slow beside others
    )
    server, answers = xllamacpp.Server(params), []
    for messages in json.load(sys.stdin):
        request = {"messages": messages, "temperature": 0, "max_tokens": LONGEST}
        answers.append(server.handle_chat_completions(request)["choices"][0]["message"]["content"] or "")
    print("ANSWERS", json.dumps(answers))


if __name__ == "__main__":
    main()
