"""Tiny models with every kind of vocabulary: `write(path, "spm", adds_bos=True)`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType

from tests.tiny.vocabulary import byte_letters

WIDTH, HIDDEN, N_HEADS = 32, 32, 2
BOS, EOS, UNKNOWN, TURN, END = "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"
SPECIAL = (UNKNOWN, BOS, EOS, TURN, END)
CHANNELS = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
MARKERS = (*CHANNELS, "<think>", "</think>", "[INST]")
WORDS = ("▁", "▁the", "▁cat", "▁sat", "he", "ll", "user", "assistant", "system", "on", "an", "in", "▁a")
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Lexicon:
    """Words by id with their kinds and scores, and the keys that a vocabulary of this kind has."""

    model: str
    words: tuple[str, ...]
    kinds: tuple[TokenType, ...]
    scores: tuple[float, ...] = ()
    fields: Fields | None = None


def _kinds(words: tuple[str, ...], n_plain: int) -> tuple[TokenType, ...]:
    return (*[TokenType.CONTROL] * (len(words) - n_plain), *[TokenType.NORMAL] * n_plain)


def spm() -> Lexicon:
    """SentencePiece by scores, bytes for what it lacks."""
    names, letters = (*SPECIAL, *MARKERS), tuple(map(chr, range(33, 127)))
    raw = tuple(f"<0x{byte:02X}>" for byte in range(256))
    words = (*names, *raw, *WORDS, *letters)
    kinds = (*_kinds(names, 0), *[TokenType.BYTE] * 256, *[TokenType.NORMAL] * (len(WORDS) + len(letters)))
    scores = tuple(float(-at) for at in range(len(words)))
    return Lexicon("llama", words, kinds, scores, {"unknown_token_id": 0})


def ugm() -> Lexicon:
    """SentencePiece by likelihood, as T5 has it."""
    found = spm()
    scores = tuple(-0.01 * at for at in range(len(found.words)))
    return Lexicon("t5", found.words, found.kinds, scores, {"unknown_token_id": 0, "add_space_prefix": True})


def wpm() -> Lexicon:
    """WordPiece, as BERT has it: the classifier's token before a text, the separator behind it."""
    letters = tuple(map(chr, range(33, 127)))
    plain = tuple(dict.fromkeys((*WORDS, *letters, *("▁" + letter for letter in letters))))
    words = (*SPECIAL, *MARKERS, *plain)
    return Lexicon(
        "bert", words, _kinds(words, len(plain)), (), {"unknown_token_id": 0, "seperator_token_id": 2}
    )


def bpe() -> Lexicon:
    """Byte-level pairs."""
    merges = ["t h", "th e", "Ġ the", "i n", "a n"]
    plain = (*byte_letters(), *(merge.replace(" ", "") for merge in merges))
    words = (*SPECIAL, *MARKERS, *plain)
    return Lexicon("gpt2", words, _kinds(words, len(plain)), (), {"pre": "gpt-2", "merges": merges})


LEXICONS: dict[str, Callable[[], Lexicon]] = {"spm": spm, "ugm": ugm, "wpm": wpm, "bpe": bpe}


def write(
    path: Path,
    kind: str,
    template: str | None = None,
    adds_bos: bool | None = None,
    adds_eos: bool | None = None,
    fields: Fields | None = None,
    context: int = 512,
    weight: float = 0.1,
) -> Path:
    """A llama of one layer. None leaves a key out. `fields`: further keys. `weight`: the head's deviation."""
    lexicon, random = LEXICONS[kind](), np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_layer_norm_rms_eps(1e-6)
    _add_vocabulary(writer, lexicon, template, adds_bos, adds_eos)
    for key, value in (fields or {}).items():
        _add(writer, key, value)
    n_words = len(lexicon.words)
    shapes = {name: (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {"ffn_gate": (HIDDEN, WIDTH), "ffn_up": (HIDDEN, WIDTH), "ffn_down": (WIDTH, HIDDEN)}
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("token_embd.weight", random.normal(0, 1, (n_words, WIDTH)).astype(np.float32))
    writer.add_tensor("output.weight", random.normal(0, weight, (n_words, WIDTH)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(
    writer: GGUFWriter, lexicon: Lexicon, template: str | None, adds_bos: bool | None, adds_eos: bool | None
) -> None:
    writer.add_tokenizer_model(lexicon.model)
    writer.add_token_list(lexicon.words)
    writer.add_token_types(lexicon.kinds)
    if lexicon.scores:
        writer.add_token_scores(lexicon.scores)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "eot_token_id": 4}
    for key, value in (ids | dict(lexicon.fields or {})).items():
        _add(writer, f"tokenizer.ggml.{key}", value)
    if adds_bos is not None:
        writer.add_add_bos_token(adds_bos)
    if adds_eos is not None:
        writer.add_add_eos_token(adds_eos)
    if template is not None:
        writer.add_chat_template(template)


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_int32(key, value) if value < 0 else writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)
