"""Examples to tokens, as inference would see them, and marks which of them are learnt."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from sys import getsizeof
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sixgig.errors import UsageError
from sixgig.finetune.examples import Completion, Conversation, Example, Text, content_digest
from sixgig.finetune.room import BOUNDLESS, Room
from sixgig.finetune.turns import Template, Turn, learnt_turns, whole

BLOCK_CHARACTERS, MOST_BLOCKS = 1 << 17, 8
# Memory by that of a text: while it is tokenised whole, at worst (a token a byte), and for each message of a
# conversation (each answer is rendered with all before it); while it is digested, of ASCII alone and else.
# By a token: of a text in blocks, beside these. Measured with byte-level BPE (LOG.md, 2026-11-30).
WHOLE_TIMES, MESSAGE_TIMES, DIGEST_TIMES, WIDE_DIGEST_TIMES, TOKEN_BYTES = 100, 2, 3, 12, 8
_WORD_AFTER_NEWLINE = re.compile(r"(?<=\S)\n(?=[A-Za-z])")  # a border of tokens in every tokenizer we know
_SPACE_BEFORE_WORD = re.compile(r"(?<=\S) (?=[A-Za-z])")  # nearly so
Ids = NDArray[np.int32]
Marks = NDArray[np.bool_]
_CONTEXT_CHARACTERS, _CONTEXT_TOKENS = 128, 8
_Span = tuple[str, bool]  # a piece of text, and whether it is learnt
_Tokenize = Callable[[str], list[int]]


class Tokenizer(Protocol):
    """The model's tokenizer. eos: the end-of-sequence token as text, "" when there is none. frame: the tokens
    that it puts before a text and behind it."""

    @property
    def eos(self) -> str: ...  # noqa: D102

    @property
    def frame(self) -> tuple[list[int], list[int]]: ...  # noqa: D102

    def tokenize(self, text: str, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """Token ids; special tokens are put in front, and names of them read as tokens, where asked for."""

    def is_end(self, token: int) -> bool:
        """Does this token end a generation?"""


@dataclass(frozen=True, eq=False, slots=True)
class Document:
    """Tokens that attend to one another and to nothing else.

    tokens: int32 [n]. learn: bool [n], whether a token is to be predicted from those before it; never the
    first. example: the digest of what it was made of. divisible: pieces of it are as good to learn from.
    """

    tokens: Ids
    learn: Marks
    example: str
    divisible: bool = False

    def __len__(self) -> int:
        """Tokens."""
        return len(self.tokens)


def render(
    example: Example,
    template: Template,
    tokenizer: Tokenizer,
    train_on_all: bool = False,
    room: Room = BOUNDLESS,
) -> list[Document]:
    """The documents of an example: one, but for some conversations. Learnt, unless it is all of them:

    - of a conversation what the assistant says and the token that ends its turn. Where the template writes
      no such token, the end-of-sequence token closes the document;
    - of a completion the completion and the end-of-sequence token, of a text all of it and that token.

    The tokens before an answer are those that inference is given there, but for a token that the tokenizer
    would put behind every prompt (the end of a sequence before its answer teaches nothing). Some templates
    write past turns otherwise than the turn to be answered (Qwen3 takes the thinking out), or end no turn
    before the next: then each answer has a document of its own, the conversation up to there.
    Which answers are learnt: turns.learnt_turns. Messages after the last of them are left out.
    Raises UsageError, with the example's place, when the template refuses it or leaves out a text of it, or
    nothing in it is learnt; BudgetError, before it is taken, for memory that `room` has not.
    """
    _require(example, room)
    begin, _ = tokenizer.frame
    if isinstance(example, Text):
        parts = [_text(example, tokenizer, room)]
    elif isinstance(example, Completion):
        parts = [_spans([(example.prompt, train_on_all), (example.completion, True)], tokenizer, begin)[:2]]
    elif train_on_all:
        parts = [_spans([(whole(example, template), True)], tokenizer, begin)[:2]]
    else:
        parts = _conversation(learnt_turns(example, template), tokenizer, begin)
    name, divisible = content_digest(example), isinstance(example, Text)
    documents = [Document(*_ended(*part, tokenizer), name, divisible) for part in parts]
    if not documents or not all(document.learn.any() for document in documents):
        raise _nothing(example)
    return documents


def _require(example: Example, room: Room) -> None:
    """Memory for what is not done block by block."""
    texts = list(_strings({name: value for name, value in vars(example).items() if name != "place"}))
    size = sum(map(getsizeof, texts))
    times = DIGEST_TIMES if all(map(str.isascii, texts)) else WIDE_DIGEST_TIMES
    if not isinstance(example, Text):
        n_messages = len(example.messages) if isinstance(example, Conversation) else 1
        times += WHOLE_TIMES + MESSAGE_TIMES * n_messages
    room.require(example.place, size, times * size)


def _strings(value: object) -> Iterator[str]:
    """All in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _strings(member)


def _conversation(
    turns: Sequence[Turn], tokenizer: Tokenizer, begin: Sequence[int]
) -> list[tuple[Ids, Marks]]:
    """One document, where each prompt and answer continues what came before and every turn is ended."""
    borders = [border for turn in turns for border in turn]
    if borders and all(longer.startswith(shorter) for shorter, longer in pairwise(borders)):
        tokens, learn, all_end = _spans(_between(borders), tokenizer, begin)
        if all_end:
            return [(tokens, learn)]
    return [_spans(_between(turn), tokenizer, begin)[:2] for turn in turns]


def _ended(tokens: Ids, learn: Marks, tokenizer: Tokenizer) -> tuple[Ids, Marks]:
    """Up to the last token learnt, and made to end there."""
    size = int(np.flatnonzero(learn)[-1]) + 1 if learn.any() else 0
    has_end = not tokenizer.eos or (size and tokenizer.is_end(int(tokens[size - 1])))
    end = [] if has_end else tokenizer.tokenize(tokenizer.eos)
    tokens = np.concatenate([tokens[:size], np.array(end, np.int32)])
    learn = np.concatenate([learn[:size], np.ones(len(end), np.bool_)])
    learn[:1] = False
    return tokens, learn


def _text(example: Text, tokenizer: Tokenizer, room: Room) -> tuple[Ids, Marks]:
    """Block by block: Python's lists of a whole book's tokens would be many times its size."""
    tokenize = partial(tokenizer.tokenize, parse_special=example.special)
    start, _ = tokenizer.frame
    blocks = [np.array(start, np.int32)]
    size = getsizeof(example.text)
    for block in _blocks(example.text):
        room.require(example.place, size, WHOLE_TIMES * getsizeof(block))
        ids = tokenize(block) if len(blocks) == 1 else _continuing(block, tokenize)
        if len(blocks) == 1 and ids[: len(start)] == start:  # the text itself names the token that begins it
            ids = ids[len(start) :]
        blocks.append(np.array(ids, np.int32))
    room.require(example.place, size, TOKEN_BYTES * sum(map(len, blocks)))
    tokens = np.concatenate(blocks)
    learn = np.ones(len(tokens), np.bool_)
    learn[: len(start)] = False
    return tokens, learn


def _blocks(text: str) -> Iterator[str]:
    """Of BLOCK_CHARACTERS to MOST_BLOCKS times as many; lines longer than that are divided at a space, or
    within a word longer than a block."""
    start = 0
    while start < len(text):
        least, most = start + BLOCK_CHARACTERS, start + 2 * BLOCK_CHARACTERS
        if border := _WORD_AFTER_NEWLINE.search(text, least, start + MOST_BLOCKS * BLOCK_CHARACTERS):
            end = border.end()
        elif border := _SPACE_BEFORE_WORD.search(text, least, most):
            end = border.start()
        else:
            end = min(most, len(text))
        yield text[start:end]
        start = end


def _spans(
    spans: Sequence[_Span], tokenizer: Tokenizer, start: Sequence[int] = ()
) -> tuple[Ids, Marks, bool]:
    """Tokens and marks of spans that follow one another, behind the tokens `start`; and whether each that is
    learnt is ended, the last excepted."""
    tokens, learn, text, unended, all_end = list[int](), list[bool](), "", False, True
    for span, learnt in spans:
        new = _following(tokens, text, span, tokenizer.tokenize)
        text += span
        marks = _answer_marks(new, tokenizer) if learnt else [False] * len(new)
        if unended and new and tokenizer.is_end(new[0]):  # GLM ends a turn by beginning the next
            marks[0], unended = True, False
        all_end = all_end and not unended
        unended = learnt and not any(map(tokenizer.is_end, new))
        tokens, learn = tokens + new, learn + marks
    ids = np.array([*start, *tokens], np.int32)
    return ids, np.array([False] * len(start) + learn, np.bool_), all_end


def _following(tokens: list[int], text: str, span: str, tokenize: _Tokenize) -> list[int]:
    """The tokens of `span` behind `text` and its `tokens`, as the text as a whole has them.

    The end of a long text stands for it where it has the same tokens. A span that would change the tokens
    before it is tokenised by itself.
    """
    for before in dict.fromkeys((text[-_CONTEXT_CHARACTERS:], text)):
        had, whole = tokenize(before), tokenize(before + span)
        same = tokens[-_CONTEXT_TOKENS:] == had[-_CONTEXT_TOKENS:] if before != text else tokens == had
        if same and whole[: len(had)] == had:
            return whole[len(had) :]
    return _continuing(span, tokenize)


def _continuing(text: str, tokenize: _Tokenize) -> list[int]:
    """The tokens of a text that goes on: without the space that some tokenizers put before a beginning."""
    newline, whole = tokenize("\n"), tokenize("\n" + text)
    return whole[len(newline) :] if whole[: len(newline)] == newline else tokenize(text)


def _answer_marks(tokens: list[int], tokenizer: Tokenizer) -> list[bool]:
    """All up to the last token that ends a turn: what a template writes after it is never generated."""
    ends = [at for at, token in enumerate(tokens) if tokenizer.is_end(token)]
    size = ends[-1] + 1 if ends else len(tokens)
    return [at < size for at in range(len(tokens))]


def _between(borders: Sequence[str]) -> list[_Span]:
    """What each text adds to the one before; every second one is an answer."""
    pairs = enumerate(pairwise(["", *borders]))
    return [(longer[len(shorter) :], number % 2 == 1) for number, (shorter, longer) in pairs]


def _nothing(example: Example) -> UsageError:
    what, cure = f"{example.place}: there is nothing to learn", "leave the example out"
    if not isinstance(example, Conversation):
        return UsageError(what, "the tokenizer makes no tokens of it", cure)
    roles = ", ".join(dict.fromkeys(message["role"] for message in example.messages))
    return UsageError(
        what, f"roles: {roles[:200]}", 'let a message of the role "assistant" follow another, or ' + cure
    )
