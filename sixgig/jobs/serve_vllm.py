"""The same model on vLLM, on a machine with a larger GPU: how to start it, and how requests get there.

Flags, and what is said of GGUF: vLLM's documentation, docs.vllm.ai (0.9.2, 0.30.0, main branch in 2026).
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sixgig.engines import model_card
from sixgig.errors import UsageError
from sixgig.jobs.serve_request import Plan, ServeRequest
from sixgig.modelfile import ModelFile, open_model
from sixgig.planning import Task, anatomy
from sixgig.planning.context import context_bytes
from sixgig.units import format_bytes

PLACEHOLDER = "OWNER/REPO"
PORT = 8000
KEY_VARIABLE = "VLLM_API_KEY"
_BF16_BYTES = 2
_MOST_OUTPUT = 4096
_SITE = r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/)?"
_REPOSITORY = re.compile(
    _SITE + r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*?)(?:-gguf)?/?", re.ASCII | re.IGNORECASE
)
_CACHED = re.compile(r"models--([^/]+?)--([^/]+)")
_NO_OWNERS = ("datasets", "spaces", "papers", "docs", "collections", "blog")


@dataclass(frozen=True)
class Source:
    """Where the original weights are, and how well that is known."""

    repository: str
    remark: str


@dataclass(frozen=True)
class _Asked:
    """name: what clients ask for. longest: tokens of prompt and answer together. output: of an answer."""

    name: str
    source: Source
    longest: int
    output: int
    parallel: int

    @property
    def flags(self) -> list[str]:
        return [
            *("--served-model-name", self.name),
            *("--max-model-len", str(self.longest)),
            *("--max-num-seqs", str(self.parallel)),
        ]


def vllm_for(request: ServeRequest) -> str:
    """How to serve the same model on vLLM: command, compose file and upstream, as one text.

    Raises UsageError for more than one model, ModelFileError.
    """
    specs = Plan.of(request).specs
    if len(specs) != 1:
        raise UsageError("vLLM serves one model", f"{len(specs)} are named", "name one MODEL")
    card = model_card(specs[0])
    return vllm_setup(specs[0].path, card.name, card.context, card.spec.sequences)


def vllm_setup(path: Path, name: str, context: int, parallel: int) -> str:
    """The command, a compose file, and the blocks for sixgig's configuration, as one text.

    path: the GGUF here. context: tokens of a request here; there it gets room for an answer beside a prompt
    of that length, where the model was trained for so much. Raises ModelFileError.
    """
    model = open_model(path)
    output = min(_MOST_OUTPUT, max(1, context // 2))
    longest = max(context, min(model.context_length, context + output))
    asked = _Asked(name, find_source(model, path), longest, output, parallel)
    parts = (_heading(model, asked), _command(model, asked), _compose(asked), _blocks(asked))
    return "\n".join(parts)


def find_source(model: ModelFile, path: Path) -> Source:
    """By what the file and the hub's cache say; the first that has the model's own name, else the first."""
    found = list(_candidates(model, path))
    own = _letters(model.name)
    for source in found:
        if _letters(source.repository.partition("/")[2]) == own:
            return source
    if not found:
        return Source(
            PLACEHOLDER, "unknown: the file does not tell its origin; put it in where OWNER/REPO stands"
        )
    unsure = (
        "another name than the model's: make sure that it is the same model, and not the one it was made from"
    )
    return Source(found[0].repository, f"{found[0].remark}; {unsure}")


def _candidates(model: ModelFile, path: Path) -> Iterator[Source]:
    """base_model is what a model was made from: of a quantisation itself, of a fine-tune its parent."""
    keys = {
        "general.source.huggingface.repository": "the file names it as its source",
        "general.source.repo_url": "the file names it as its source",
        "general.source.url": "the file names it as its source",
        "general.repo_url": "the file names it as its own",
        "general.url": "the file names it as its own",
    }
    if (model.metadata.integer("general.base_model.count") or 1) == 1:
        keys["general.base_model.0.repo_url"] = "the file names it as its base model"
    for key, remark in keys.items():
        if repository := _repository(model.metadata.text(key) or ""):
            yield Source(repository, remark)
    cached = _CACHED.search(str(path.absolute()))
    if cached and (repository := _repository(f"{cached[1]}/{cached[2]}")):
        yield Source(repository, "guessed from the name of the repository that the file was fetched from")


def _repository(text: str) -> str | None:
    """owner/name, without the ending of repositories that hold GGUF alone; None for anything else."""
    match = _REPOSITORY.fullmatch(text.strip())
    if match is None or match[1].partition("/")[0].lower() in _NO_OWNERS:
        return None
    return match[1]


def _letters(name: str) -> str:
    """What is left of a name that people write with dashes, spaces or capitals."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _heading(model: ModelFile, asked: _Asked) -> str:
    n_parameters = sum(math.prod(tensor.shape) for tensor in model.tensors)
    weights = n_parameters * _BF16_BYTES
    cache = sum(context_bytes(anatomy(model), Task(context=asked.longest, sequences=asked.parallel)))
    return f"""\
# {asked.name} on vLLM. Written from vLLM's documentation; nothing here was tried on your machines.
#
# Weights: {asked.source.repository}
#   {asked.source.remark}.
#   They are the original ones: its answers are not those of the quantised file here.
# GPU memory: about {format_bytes(weights + cache)}, an estimate from the file's header.
#   Weights {format_bytes(weights)} ({n_parameters / 1e9:.3g} billion parameters in BF16),
#   cache {format_bytes(cache)} ({asked.parallel} sequences of {asked.longest} tokens).
#   What vLLM itself needs comes on top. Where one GPU is too small, add --tensor-parallel-size N;
#   where there is room, raise --max-num-seqs.
"""


def _command(model: ModelFile, asked: _Asked) -> str:
    words = [
        "vllm",
        "serve",
        asked.source.repository,
        *asked.flags,
        "--host",
        "127.0.0.1",
        "--port",
        str(PORT),
    ]
    return f"""\
# ---- 1. On the machine with the GPU ----

export {KEY_VARIABLE}="$(openssl rand -hex 32)"    # a secret that both machines need
{shlex.join(words)}

# The GGUF file itself on vLLM is experimental, by vLLM's own word. Versions up to 0.9.2, if not later, take a
# single file only; later ones need a package of its own, vllm-gguf-plugin. {_files(model)}
#   pip install vllm-gguf-plugin
#   vllm serve FILE.gguf --dtype float16 --tokenizer {asked.source.repository} \\
#       --hf-config-path {asked.source.repository}
"""


def _files(model: ModelFile) -> str:
    n_files = len(model.headers)
    return "This model is one file." if n_files == 1 else f"This model is {n_files} files: merge them first."


def _compose(asked: _Asked) -> str:
    command = "\n".join(f"      - {_text(word)}" for word in (asked.source.repository, *asked.flags))
    return f"""\
# ---- 2. Or there in a container: compose.yaml ----

services:
  vllm:
    image: vllm/vllm-openai:latest    # better the version you tried
    command:
{command.replace("$", "$$")}
    environment:
      {KEY_VARIABLE}: ${{{KEY_VARIABLE}:?set it to a secret}}
      HF_TOKEN: ${{HF_TOKEN:-}}
      HF_HOME: /models
    volumes:
      - huggingface:/models
    ports:
      - "127.0.0.1:{PORT}:{PORT}"
    ipc: host
    restart: unless-stopped
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: all
              capabilities: [gpu]
volumes:
  huggingface:
"""


def _blocks(asked: _Asked) -> str:
    name = _text(asked.name)
    return f"""\
# ---- 3. Here: a way there that nobody can listen to, and the end of serve.toml ----
#
#   ssh -N -L {PORT}:127.0.0.1:{PORT} GPU-MACHINE
#   {KEY_VARIABLE} must be in the environment of sixgig serve, with the same secret.

[[upstreams]]
name = "vllm"
base_url = "http://127.0.0.1:{PORT}/v1"
api_key_env = "{KEY_VARIABLE}"
models = {{ {name} = {name} }}
input_price = 0    # by the token; what a rented GPU costs by the hour no cap here counts
output_price = 0
context = {asked.longest}
max_output_tokens = {asked.output}

[[rules]]
when = "queue_longer_than"
value = {asked.parallel}
models = [{name}]
upstream = "vllm"
"""


def _text(word: str) -> str:
    """In quotes, for YAML and TOML alike."""
    return json.dumps(word)
