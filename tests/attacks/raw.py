"""GGUF files spelled out byte by byte, so that a test can lie in any one place."""

from dataclasses import dataclass, field
from pathlib import Path
from struct import pack

U8, U32, F32, STRING, ARRAY, U64 = 0, 4, 6, 8, 9, 10
TYPE_F32, TYPE_Q4_0 = 0, 2


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return pack("<Q", len(raw)) + raw


def pair(key: str | bytes, value: int | float | str | bytes) -> bytes:
    """A pair with a UINT32, FLOAT32 or string value."""
    if isinstance(value, int):
        return text(key) + pack("<II", U32, value)
    if isinstance(value, float):
        return text(key) + pack("<If", F32, value)
    return text(key) + pack("<I", STRING) + text(value)


def array(key: str, kind: int, count: int, raw: bytes) -> bytes:
    return text(key) + pack("<IIQ", ARRAY, kind, count) + raw


def declaration(name: str | bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + pack("<I", len(shape)) + pack(f"<{len(shape)}Q", *shape) + pack("<IQ", kind, offset)


@dataclass
class Raw:
    """A small, valid mixture by default: one layer, two experts. Change a piece, then write it."""

    magic: bytes = b"GGUF"
    version: int = 3
    n_tensors: int | None = None
    n_pairs: int | None = None
    data_bytes: int = 512 + 256 + 1152
    alignment: int = 32
    pairs: dict[str, bytes] = field(default_factory=lambda: dict(_PAIRS))
    tensors: dict[str, bytes] = field(default_factory=lambda: dict(_TENSORS))

    def pieces(self) -> list[bytes]:
        """The header cut at every structural boundary."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        counts = [pack("<I", self.version), pack("<Q", n_tensors), pack("<Q", n_pairs)]
        return [self.magic, *counts, *self.pairs.values(), *self.tensors.values()]

    def header(self) -> bytes:
        raw = b"".join(self.pieces())
        return raw.ljust(-(-len(raw) // self.alignment) * self.alignment, b"\0")

    def write(self, path: Path) -> Path:
        path.write_bytes(self.header() + bytes(self.data_bytes))
        return path


_PAIRS = {
    "general.architecture": pair("general.architecture", "llama"),
    "llama.block_count": pair("llama.block_count", 1),
    "llama.context_length": pair("llama.context_length", 64),
    "llama.embedding_length": pair("llama.embedding_length", 32),
    "llama.expert_count": pair("llama.expert_count", 2),
    "llama.expert_used_count": pair("llama.expert_used_count", 1),
    "tokens": array("tokenizer.ggml.tokens", STRING, 4, text("a") + text("b") + text("") + text("dd")),
    "scores": array("tokenizer.ggml.scores", F32, 4, bytes(16)),
    "template": pair("tokenizer.chat_template", "x" * 5000),
}
_TENSORS = {
    "embedding": declaration("token_embd.weight", (32, 4), TYPE_F32, 0),
    "router": declaration("blk.0.ffn_gate_inp.weight", (32, 2), TYPE_F32, 512),
    "experts": declaration("blk.0.ffn_gate_exps.weight", (32, 32, 2), TYPE_Q4_0, 768),
}
