"""An answer as it is read: what is said apart from the thinking, markers of the format in neither."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from sixgig.inference.chat_format import Parsed, Turn
from sixgig.inference.generate import StopStrings
from sixgig.inference.tokens import Vocabulary

# The parser takes the whole answer each time (half a millisecond at 50 kB): for each token while the answer
# is short, then whenever it grew by this part of itself.
_PARSES = 4096


class AnswerReader:
    """A generate.Reader for a turn of a chat; `thinking` gets the reasoning, piece by piece.

    raw: all that the model wrote, markers too. reasoning: the thinking so far. An answer that does not follow
    its format, a cut one included, is content as it stands from where the parser was lost.
    """

    def __init__(
        self,
        turn: Turn,
        vocabulary: Vocabulary,
        thinking: Callable[[str], object] = lambda piece: None,
        stop: Sequence[str] = (),
    ) -> None:
        self._turn, self._vocabulary, self._thinking = turn, vocabulary, thinking
        self._stop = StopStrings((*turn.stops, *stop))
        self._split = b""  # a character that is not whole yet
        self._waiting = list[tuple[bytes, int]]()
        self._n_waiting = self._n_read = 0
        self._parsed = Parsed()
        self._lost = False
        self.raw = ""

    @property
    def ended(self) -> bool:
        """As generate.Reader."""
        return self._stop.found

    @property
    def reasoning(self) -> str:
        """The thinking so far."""
        return self._parsed.reasoning

    def feed(self, token: int) -> str:
        """As generate.Reader."""
        self._split += self._vocabulary.piece(token, special=self._turn.spells(token))
        text = _whole(self._split)
        if text is None:
            return ""
        self._split = b""
        return self._take(self._stop.feed(text), token)

    def finish(self) -> str:
        """As generate.Reader."""
        rest = (
            ""
            if self.ended
            else self._stop.feed(self._split.decode("utf-8", "replace")) + self._stop.finish()
        )
        if rest:
            self._wait(rest, -1)
        return self._read(last=True)

    def _take(self, text: str, token: int) -> str:
        """A piece that is certain; parsed at once while the answer is short, later when it grew enough."""
        if text:
            self._wait(text, token)
        due = self._n_waiting * _PARSES > self._n_read
        return self._read(last=False) if due and self._n_waiting else ""

    def _wait(self, text: str, token: int) -> None:
        self.raw += text
        piece = text.encode()
        self._waiting.append((piece, token))
        self._n_waiting += len(piece)

    def _read(self, last: bool) -> str:
        """What is new in the content, once the parser has seen all that waits."""
        before, parsed = self._parsed, None if self._lost else self._turn.read(self._waiting, last)
        if parsed is None:
            self._lost = True
            parsed = Parsed(before.content + self.raw[self._end_of_parsed() :], before.reasoning)
        self._n_read, self._n_waiting, self._waiting = self._n_read + self._n_waiting, 0, []
        self._parsed = _grown(before, parsed)
        thought = self._parsed.reasoning[len(before.reasoning) :]
        if thought:
            self._thinking(thought)
        return self._parsed.content[len(before.content) :]

    def _end_of_parsed(self) -> int:
        """Where in `raw` the part ends that the parser told apart."""
        for shown in (self._parsed.content, self._parsed.reasoning):
            if shown and (at := self.raw.rfind(shown)) >= 0:
                return at + len(shown)
        return 0


def _grown(before: Parsed, after: Parsed) -> Parsed:
    """`after`, but nothing of `before`, which was shown, is taken back."""
    pairs = ((before.content, after.content), (before.reasoning, after.reasoning))
    return Parsed(*(new if new.startswith(old) else old for old, new in pairs))


def _whole(raw: bytes) -> str | None:
    """The text of `raw`, None while its last character is not whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(raw)
    return None if decoder.getstate()[0] else text
