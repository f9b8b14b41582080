"""Prompts of messages and answers read, by the engine's own chat code: the C interface of
native/chat/chat.cpp.

So a prompt is what the engine's server makes of the same messages (its templates, its rules about BOS,
roles and content), and thinking is told from the answer as that server tells it: by a parser derived from
the template.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Any

from sixgig.errors import EngineError, ModelFileError
from sixgig.hardware.memory import process_memory, touched_bytes
from sixgig.inference.chat import Message
from sixgig.inference.tokens import Vocabulary
from sixgig.llamacpp import load_library
from sixgig.pager.native import library_path
from sixgig.units import format_bytes

# What a template may take: it is foreign code, and a loop of it can only be halted where it stands.
LONGEST_S, LARGEST_BYTES, _LOOK_EVERY_S = 10.0, 1 << 28, 0.02
_HALTING = threading.Lock()
_OLD_STRINGS = "_Z26common_chat_templates_initPK11llama_modelRKSsS3_S3_"
NO_TEMPLATE = (
    "the model has no chat template: ChatML is used, as llama.cpp's server does; "
    "--raw continues the text as it stands"
)


class Text(Structure):
    """Bytes of the engine's, or for it."""

    _fields_ = (("data", c_char_p), ("size", c_size_t))


class _Message(Structure):
    _fields_ = (("role", Text), ("content", Text), ("reasoning", Text))


class _View(Structure):
    _fields_ = (("data", c_void_p), ("size", c_size_t))

    def text(self) -> str:
        return ctypes.string_at(self.data, self.size).decode("utf-8", "replace") if self.size else ""


class _Answer(Structure):
    _fields_ = (("content", _View), ("reasoning", _View))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sixgig_chat_error": (c_char_p, ()),
    "sixgig_chat_halt": (c_bool, (c_int,)),
    "sixgig_chat_open": (c_void_p, (c_void_p,)),
    "sixgig_chat_close": (None, (c_void_p,)),
    "sixgig_chat_has_template": (c_bool, (c_void_p,)),
    "sixgig_chat_begin": (c_void_p, (c_void_p, c_void_p, POINTER(_Message), c_int)),
    "sixgig_chat_end": (None, (c_void_p,)),
    "sixgig_chat_prompt": (_View, (c_void_p,)),
    "sixgig_chat_preserves": (c_bool, (c_void_p, c_int32)),
    "sixgig_chat_stop": (c_char_p, (c_void_p, c_size_t)),
    "sixgig_chat_feed": (
        c_bool,
        (c_void_p, POINTER(Text), POINTER(c_int32), c_int, c_bool, POINTER(_Answer)),
    ),
}


@functools.cache
def load_chat_library() -> ctypes.CDLL:
    """The library whose strings are the engine's. Raises EngineError where it does not load."""
    path = library_path(f"sixgig_chat_abi{0 if hasattr(load_library().c, _OLD_STRINGS) else 1}")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        cure = "run --raw works without; or reinstall sixgig with a C++17 compiler at hand"
        raise EngineError("the engine's chat code cannot be reached", str(error), cure) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@dataclass(frozen=True)
class Parsed:
    """An answer, or its beginning: what is said, and the thinking before it ("" where there is none)."""

    content: str = ""
    reasoning: str = ""


class ChatFormat:
    """How a model chats. `notice` is "" or says that the model brought no template.

    `model` is the address of a llama_model, which must outlive this. Raises ModelFileError for a template
    that the engine cannot read, or that does not end within LONGEST_S seconds and LARGEST_BYTES. Such a one
    is not asked again: its thread stands still from then on, with what it took.
    """

    def __init__(self, model: int, vocabulary: Vocabulary) -> None:
        self._c = load_chat_library()
        self._vocabulary = vocabulary
        self._excess = ""
        handle = self._bounded(lambda: self._c.sixgig_chat_open(model))
        self._handle: int = handle
        weakref.finalize(self, self._c.sixgig_chat_close, handle).atexit = False
        self.notice = "" if self._c.sixgig_chat_has_template(handle) else NO_TEMPLATE

    def begin(self, messages: Sequence[Message]) -> Turn:
        """The turn that answers `messages`, of "role", "content" and "reasoning_content". Raises as the
        constructor."""
        held = (_Message * len(messages))(*(_Message(*map(_text, _parts(message))) for message in messages))
        handle = self._bounded(
            lambda: self._c.sixgig_chat_begin(self._handle, self._vocabulary.address, held, len(messages))
        )
        turn = Turn(self, self._c, handle)
        if not turn.prompt.strip():
            raise _broken(f"it writes nothing for {len(messages)} messages")
        return turn

    def _bounded(self, call: Callable[[], int | None]) -> int:
        """What a call into the template gives, in a thread so that Ctrl-C works and its time and memory have
        an end."""
        if self._excess:
            raise _broken(self._excess)
        given = list[tuple[int | None, str]]()

        def work() -> None:
            found = call()
            given.append((found, self._c.sixgig_chat_error().decode("utf-8", "replace")))

        worker = threading.Thread(target=work, name="chat-template", daemon=True)
        try:
            self._excess = _excess(worker)
        finally:
            if worker.is_alive():
                with _HALTING:
                    self._c.sixgig_chat_halt(worker.native_id)
        if self._excess:
            raise _broken(self._excess)
        found, reason = given[0]
        if not found:
            raise _broken(reason)
        return found


class Turn:
    """One prompt and the parser of its answer. stops: strings that end the answer besides the model's own
    end."""

    def __init__(self, owner: ChatFormat, c: ctypes.CDLL, handle: int) -> None:
        self._owner, self._c, self._handle = owner, c, handle  # the owner's templates outlive the turn
        weakref.finalize(self, c.sixgig_chat_end, handle).atexit = False
        self.prompt: str = c.sixgig_chat_prompt(handle).text()
        self.stops: tuple[str, ...] = tuple(self._stops())

    def _stops(self) -> list[str]:
        found = list[str]()
        while (stop := self._c.sixgig_chat_stop(self._handle, len(found))) is not None:
            found.append(stop.decode("utf-8", "replace"))
        return found

    def spells(self, token: int) -> bool:
        """Is this control token a marker of the format, to be handed to read() as its text?"""
        return bool(self._c.sixgig_chat_preserves(self._handle, token))

    def read(self, pieces: Sequence[tuple[bytes, int]], last: bool = False) -> Parsed | None:
        """The whole answer after more `pieces` of it, each the bytes of a token; None where it does not
        parse.

        After `last` no more may come.
        """
        texts = (Text * len(pieces))(*(Text(piece, len(piece)) for piece, _ in pieces))
        tokens = (c_int32 * len(pieces))(*(token for _, token in pieces))
        answer = _Answer()
        if not self._c.sixgig_chat_feed(self._handle, texts, tokens, len(pieces), last, answer):
            return None
        return Parsed(answer.content.text(), answer.reasoning.text())


def _parts(message: Message) -> tuple[str, str, str]:
    return message["role"], message["content"], message.get("reasoning_content") or ""


def _text(text: str) -> Text:
    raw = text.encode("utf-8", "replace")
    return Text(raw, len(raw))


def _excess(worker: threading.Thread) -> str:
    """Run a thread to its end; what it took too much of, "" if nothing."""
    before, started = process_memory().resident_bytes, time.monotonic()
    worker.start()
    while worker.is_alive():
        worker.join(_LOOK_EVERY_S)
        if time.monotonic() - started > LONGEST_S:
            return f"it did not end within {LONGEST_S:.0f} s"
        grown = process_memory().resident_bytes - before  # by other threads too, which load or compute
        if min(grown, touched_bytes(worker.native_id)) > LARGEST_BYTES:
            return f"it took more than {format_bytes(LARGEST_BYTES)}"
    return ""


def _broken(reason: str) -> ModelFileError:
    """`reason` as the engine gives it: what went wrong stands behind where, or is lost on the way."""
    words = " ".join(reason.rpartition("Error: ")[2].removeprefix("Jinja Exception: ").split())
    told = "llama.cpp cannot parse it" if words == "std::exception" else words[:300]
    return ModelFileError("the model's chat template does not work", told, "--raw goes without it")
