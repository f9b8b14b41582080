"""A byte-level vocabulary of any size that llama.cpp loads: 256 bytes, then strings built by merging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gguf import TokenType

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FIRST_TOKEN = len(SPECIAL)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """tokens[i] is token i's spelling; merges[j] made token FIRST_TOKEN + 256 + j."""

    tokens: tuple[str, ...]
    merges: tuple[str, ...]

    def write(self, writer: Any) -> None:
        """Put the tokeniser's metadata into a gguf writer."""
        kinds = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(self.tokens) - len(SPECIAL))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(list(self.tokens))
        writer.add_token_types([int(kind) for kind in kinds])
        writer.add_token_merges(list(self.merges))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
        writer.add_add_bos_token(False)
        writer.add_chat_template(CHAT_TEMPLATE)


def vocabulary(n_vocab: int) -> Vocabulary:
    """A vocabulary of exactly `n_vocab` tokens, 259 at least."""
    smallest = FIRST_TOKEN + 256
    if n_vocab < smallest:
        raise ValueError(f"vocabulary of {n_vocab} tokens; {smallest} are needed for bytes and markers")
    spellings, merges = _merged(n_vocab - smallest)
    return Vocabulary((*SPECIAL, *_byte_spellings(), *spellings), tuple(merges))


def _merged(count: int) -> tuple[list[str], list[str]]:
    """All strings of two printable characters, then of three, and so on, `count` of them."""
    letters = [chr(code) for code in range(33, 127)]
    heads, merges = list(letters), []
    for k in range(count):
        left, right = heads[k // len(letters)], letters[k % len(letters)]
        heads.append(left + right)
        merges.append(f"{left} {right}")
    return heads[len(letters) :], merges


def _byte_spellings() -> list[str]:
    """GPT-2's printable stand-in for each byte, in byte order."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    stand_ins = iter(range(256, 512))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]
