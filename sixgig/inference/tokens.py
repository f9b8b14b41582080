"""Text to tokens and back."""

import codecs
import ctypes
import functools
from collections.abc import Iterable

from sixgig.errors import EngineError, ModelFileError
from sixgig.llamacpp import Library

_NO_VOCABULARY = 0  # LLAMA_VOCAB_TYPE_NONE: the tokenizer functions abort the process on such a model


class Vocabulary:
    """The tokenizer of a loaded model; nothing of it is copied into Python."""

    def __init__(self, library: Library, model: int) -> None:
        self._c = library.c
        self._vocab: int = library.c.llama_model_get_vocab(model)
        self._has_text = library.c.llama_vocab_type(self._vocab) != _NO_VOCABULARY
        self._buffer = ctypes.create_string_buffer(256)
        self.size: int = library.c.llama_vocab_n_tokens(self._vocab)

    def tokenize(self, text: str, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """Token ids of `text`.

        add_special: put BOS or EOS where the model wants them (a chat template has written its own).
        parse_special: "<|im_end|>" in the text becomes the control token of that name.
        Raises ModelFileError when the model has no tokenizer.
        """
        self._require_text()
        raw = text.encode("utf-8", "replace")
        capacity = len(raw) + 8
        for _ in range(2):
            ids = (ctypes.c_int32 * capacity)()
            count = self._c.llama_tokenize(
                self._vocab, raw, len(raw), ids, capacity, add_special, parse_special
            )
            if count >= 0:
                return list(ids[:count])
            capacity = -count
        raise EngineError("llama.cpp cannot tokenize the text", f"{len(raw)} bytes")

    def prompt(self, text: str) -> list[int]:
        """The tokens of a prompt, as the engine's server makes them: special ones added, names of them
        read."""
        return self.tokenize(text, add_special=True, parse_special=True)

    @functools.cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts (before, behind) a text: BOS and EOS where the model wants them, or
        nothing."""
        plain, whole = self.tokenize("a", parse_special=False), self.tokenize("a", True, parse_special=False)
        places = range(len(whole) - len(plain) + 1)
        at = next((at for at in places if whole[at : at + len(plain)] == plain), len(whole))
        return whole[:at], whole[at + len(plain) :]

    @property
    def begin(self) -> int | None:
        """The token that the tokenizer puts before a text, None where it puts none."""
        before, _ = self.frame
        return before[0] if before else None

    def piece(self, token: int, special: bool = False) -> bytes:
        """Bytes of one token, which may be part of a character; control tokens are empty unless `special`."""
        self._require_text()
        if not 0 <= token < self.size:
            return b""
        for _ in range(2):
            size = self._c.llama_token_to_piece(
                self._vocab, token, self._buffer, len(self._buffer), 0, special
            )
            if size >= 0:
                return self._buffer.raw[:size]
            self._buffer = ctypes.create_string_buffer(-size)
        raise EngineError("llama.cpp cannot spell a token", f"token {token}")

    def text(self, tokens: Iterable[int], special: bool = False) -> str:
        """The text of `tokens`; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.piece(token, special) for token in tokens).decode("utf-8", "replace")

    def is_end(self, token: int) -> bool:
        """Does this token end a generation (end of text, end of turn)?"""
        return bool(self._c.llama_vocab_is_eog(self._vocab, token))

    @property
    def address(self) -> int:
        """Of the llama_vocab."""
        return self._vocab

    @property
    def adds_bos(self) -> bool:
        """Does the model want BOS before a text?"""
        return bool(self._c.llama_vocab_get_add_bos(self._vocab))

    @property
    def adds_eos(self) -> bool:
        """Does the model want EOS behind a text?"""
        return bool(self._c.llama_vocab_get_add_eos(self._vocab))

    @property
    def bos(self) -> str:
        """The begin-of-sequence token as text, "" when there is none."""
        return self._special(self._c.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """The end-of-sequence token as text, "" when there is none."""
        return self._special(self._c.llama_vocab_eos(self._vocab))

    def _special(self, token: int) -> str:
        return "" if token < 0 else self.piece(token, special=True).decode("utf-8", "replace")

    def _require_text(self) -> None:
        if not self._has_text:
            raise ModelFileError("the model has no tokenizer", "tokenizer.ggml.model is none")


class TextStream:
    """Joins token pieces into text as they come; a character split over tokens waits until it is whole."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token: int) -> str:
        """The text that became certain with `token`; may be empty."""
        return self._decoder.decode(self._vocabulary.piece(token))

    def finish(self) -> str:
        """What is left: "" or U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)
