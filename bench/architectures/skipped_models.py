"""A tiny model of an architecture that the engine's own generator skips: `describe_tiny(TINY["gemma3n"])`.

Described by settings alone; the engine lists the tensors that it wants of them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gguf import GGUFWriter

from bench.architectures.description import Description, Fact, NamedTensor, write
from bench.architectures.listed import Shapes, listed
from sixgig.modelfile import TYPE_BY_NAME
from tests.tiny.vocabulary import add_vocabulary, tokens

SCALES = r".*\.(input_)?scale"  # of weights in four bits: the engine would take them, few files have them
# What quantised files quantise.
_PRODUCT = re.compile(
    r"token_embd\.weight|output\.weight|(?:enc\.|dec\.)?blk\.\d+\.(?:"
    r"(?:cross_)?attn_(?:q|k|v|qkv|output|o|gate|kv_a_mqa|kv_b)|ffn_(?:gate|up|down|gate_up)(?:_exps|_shexp)?|"
    r"ffn_latent_(?:up|down)|ssm_(?:in|out)|time_mix_(?:key|value|receptance|gate|output)|"
    r"channel_mix_(?:key|value|receptance))\.weight"
)
WIDTH, N_HEADS, HEAD = 256, 4, 64
_COMMON: dict[str, Any] = {
    "context_length": 2048,
    "embedding_length": WIDTH,
    "feed_forward_length": WIDTH,
    "attention.head_count": N_HEADS,
    "attention.head_count_kv": N_HEADS // 2,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-6,
}
_UNPREFIXED = ("xielu.", "tokenizer.")


@dataclass(frozen=True)
class Tiny:
    """One model. settings: by name without the architecture; None takes a common one away.

    without: patterns of tensors that the engine would take too, and files have not. by_hand: tensors that it
    does not list; listed: whether it lists any. split: gate and up apart where it lists them in one.
    embeds: it gives embeddings, and generates nothing. refused: why it is meant not to run.
    """

    architecture: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_layers: int = 3
    without: tuple[str, ...] = (SCALES,)
    by_hand: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    listed: bool = True
    split: bool = False
    embeds: bool = False
    n_vocab: int = 0
    refused: str = ""

    @property
    def is_mixture(self) -> bool:
        """Whether it has routed experts."""
        return "expert_count" in self.settings


def describe_tiny(model: Tiny, kind: str = "Q8_0") -> Description:
    """Its header, products stored as `kind`, or as Q8_0 or F32 where rows are no whole blocks.

    Raises ValueError with the engine's words where it lists no tensors.
    """
    facts = _facts(model)
    shapes = _chosen(model, _listed(facts) if model.listed else {})
    tensors = (NamedTensor(name, _type(name, shape, kind), shape) for name, shape in shapes.items())
    return Description(facts, tuple(tensors))


def _listed(facts: dict[str, Fact]) -> Shapes:
    with tempfile.TemporaryDirectory() as folder:
        return listed(write(Description(facts, ()), Path(folder) / "header.gguf"))


def _chosen(model: Tiny, found: Shapes) -> Shapes:
    chosen: Shapes = {}
    for name, shape in found.items():
        if any(re.fullmatch(pattern, name) for pattern in model.without):
            continue
        if model.split and "gate_up_exps" in name:
            half = (shape[0], shape[1] // 2, shape[2])
            chosen |= {name.replace("gate_up", part): half for part in ("gate", "up")}
        else:
            chosen[name] = shape
    return chosen | dict(model.by_hand)


def _type(name: str, shape: tuple[int, ...], kind: str) -> str:
    if not _PRODUCT.fullmatch(name):
        return "F32"
    fits = (one for one in (kind, "Q8_0", "F32") if shape[0] % TYPE_BY_NAME[one].block_elements == 0)
    return next(fits)


def _facts(model: Tiny) -> dict[str, Fact]:
    facts: dict[str, Fact] = _vocabulary(model.n_vocab) | {
        "general.architecture": ("STRING", model.architecture),
        "general.name": ("STRING", f"tiny {model.architecture}"),
    }
    counts = {"block_count": model.n_layers, "vocab_size": len(tokens(model.n_vocab))}
    for name, value in (_COMMON | counts | dict(model.settings)).items():
        if value is not None:
            key = name if name.startswith(_UNPREFIXED) else f"{model.architecture}.{name}"
            facts[key] = _fact(value)
    return facts


def _fact(value: Any) -> Fact:
    one = value[0] if isinstance(value, list) else value
    return {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING"}[type(one)], value


def _vocabulary(n_vocab: int) -> dict[str, Fact]:
    writer = GGUFWriter(None, "")
    add_vocabulary(writer, n_vocab)
    entries = {key: entry.value for key, entry in writer.kv_data[0].items()}
    types = [int(kind) for kind in entries.pop("tokenizer.ggml.token_type")]
    facts = {key: _fact(value) for key, value in entries.items() if key != "general.architecture"}
    return facts | {"tokenizer.ggml.token_type": ("INT32", types)}
