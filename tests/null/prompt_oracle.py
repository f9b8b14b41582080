"""What the engine's own server makes of prompts: `python prompt_oracle.py < asked.json`, answers on stdout.

Asked: a list of {"path", "chats": [messages, ...], "texts": [text, ...], "spoken": [answer, ...], "drawn":
[completion, ...]}. Answered for each file: of a chat or text {"prompt", "tokens", "count"}, that is the text,
the ids that its tokenizer gives and the tokens evaluated; of an answer {"content", "reasoning_content"}; of a
completion its tokens.
Runs as a process of its own, as server_oracle.py does.
"""

import json
import sys
from typing import Any
from urllib.request import Request, urlopen

import xllamacpp


def main() -> None:
    answers = [_of_file(**asked) for asked in json.load(sys.stdin)]
    print("ANSWERS", json.dumps(answers))


def _of_file(path: str, **asked: list[Any]) -> dict[str, Any]:
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_parallel = 512, 256, 256, 1
    params.n_ctx_checkpoints, params.cache_ram_mib, params.port, params.verbosity = 0, 0, 0, 0
    params.warmup = params.fit_params = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    ask = _Asking(server.listening_address)
    kinds = {"chats": ask.chat, "texts": ask.text, "spoken": ask.spoken, "drawn": ask.drawn}
    return {kind: [kinds[kind](one) for one in some] for kind, some in asked.items()}


class _Asking:
    def __init__(self, address: str) -> None:
        self._address = address

    def chat(self, messages: list[Any]) -> dict[str, Any]:
        prompt = self._post("/apply-template", {"messages": messages})["prompt"]
        body = {"messages": messages, "max_tokens": 1}
        count = self._post("/v1/chat/completions", body)["usage"]["prompt_tokens"]
        return {"prompt": prompt, "tokens": self._tokens(prompt), "count": count}

    def text(self, text: str) -> dict[str, Any]:
        count = self._post("/completion", {"prompt": text, "n_predict": 1})["tokens_evaluated"]
        return {"prompt": text, "tokens": self._tokens(text), "count": count}

    def spoken(self, text: str) -> dict[str, str]:
        """How the server tells the parts of an answer apart that a grammar makes the model give."""
        messages = [{"role": "user", "content": "the"}]
        body = {
            "messages": messages,
            "grammar": f"root ::= {json.dumps(text, ensure_ascii=False)}",
            "max_tokens": 400,
        }
        message = self._post("/v1/chat/completions", body)["choices"][0]["message"]
        return {name: message.get(name) or "" for name in ("content", "reasoning_content")}

    def drawn(self, body: dict[str, Any]) -> list[int]:
        """The tokens of a completion."""
        tokens: list[int] = self._post("/completion", body | {"return_tokens": True})["tokens"]
        return tokens

    def _tokens(self, prompt: str) -> list[int]:
        body = {"content": prompt, "add_special": True, "parse_special": True}
        tokens: list[int] = self._post("/tokenize", body)["tokens"]
        return tokens

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = Request(
            self._address + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
        return answer


if __name__ == "__main__":
    main()
