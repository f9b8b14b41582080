"""A text as a model generates it, and the order in which threads may use the model: one answer at a time."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sixgig.errors import EngineError, UsageError
from sixgig.inference import Generation, TextRun
from sixgig.units import counted

T = TypeVar("T")
_ABORT_EVERY_S = 0.01
_BUSY = "wait for its end, stop() the model, or load it once more"


class Answer(Iterator[str]):
    """The pieces of one text, each when it is certain; read() is for all of them at once.

    Nothing is generated before the first piece is asked for.
    Leaving it half read is fine: it ends when it is let go of, at close(), or when another is iterated on.
    Iterating on then raises UsageError, as it does once the model is closed.
    """

    def __init__(self, run: TextRun, turns: OneAtATime, model: object) -> None:
        self._run, self._turns, self._model = run, turns, model  # which is open while somebody has this
        self._ending = threading.Lock()
        self._thread = threading.current_thread()
        self._over = self._stopped = self._superseded = False

    def __iter__(self) -> Answer:
        """Itself."""
        return self

    def __next__(self) -> str:
        """The next piece, never empty. Raises what generating raises, and Cancelled."""
        if self._over and self.result.finish:
            raise StopIteration
        piece = self._turns.step(self)
        if piece is None:
            raise StopIteration
        return piece

    def read(self) -> str:
        """The whole text, once it is generated to its end. Raises as iterating does."""
        for _ in self:
            pass
        return self.result.text

    @property
    def result(self) -> Generation:
        """What was generated so far, why it ended and how fast it was; at any time, from any thread. Of the
        prompt nothing is evaluated before the first piece."""
        return self._run.result

    def __repr__(self) -> str:
        tokens, finish = counted(len(self.result.token_ids), "token"), self.result.finish
        if finish or self._over:
            return f"<Answer: {tokens}, {finish or 'left'}>"
        return f"<Answer: {tokens} so far>" if self.result.token_ids else "<Answer: not begun>"

    def close(self) -> None:
        """Leave the rest; safe to call twice."""
        if not self._over and not self._turns.closed:
            self._turns.use(self._leave)

    def _leave(self) -> None:
        """End where it is; for whoever has the model to itself."""
        if not self._over:
            self._run.close()
            self._end()

    def _abort(self, abort: Callable[[], object]) -> None:
        """`abort` unless it is over: what comes after it is never hit."""
        with self._ending:
            if not self._over:
                abort()

    def _advance(self) -> str | None:
        """The next piece, None at the end; for whoever has the model to itself."""
        if self._superseded:
            raise UsageError("this text was left", "another was begun on the model", "ask for it anew")
        if self._over:
            return None
        self._thread = threading.current_thread()
        if self._stopped:
            self._leave()
            return None
        try:
            piece = next(self._run, None)
        except BaseException as error:
            self._end()
            if not isinstance(error, EngineError) or not (self._stopped or self._turns.closed):
                raise
            return None
        if piece is None:
            self._end()
        return piece

    def _end(self) -> None:
        with self._ending:
            self._over = True
        if self._stopped and not self.result.finish:
            self.result.finish = "stopped"


class OneAtATime:
    """Keeps threads off a model that another generates with, by an error, and all off one that is closed.

    abort: ends the evaluation in flight, from any thread. release: closes the model; called once nobody uses
    it.
    """

    def __init__(self, abort: Callable[[], object], release: Callable[[], object]) -> None:
        self._abort, self._release = abort, release
        self._lock = threading.Lock()  # held while the model is used
        self._holder: threading.Thread | None = None
        self._generating = False  # by the holder: the others are told, where else they wait a moment
        self._current: Callable[[], Answer | None] = lambda: None  # whose text has begun
        self._newest: Callable[[], Answer | None] = lambda: None
        self.closed = False

    def begin(self, make: Callable[[], Answer]) -> Answer:
        """The answer made; UsageError while another thread iterates on one."""

        def made() -> Answer:
            self._require_free()
            answer = make()
            self._newest = weakref.ref(answer)
            return answer

        return self.use(made)

    def step(self, answer: Answer) -> str | None:
        """The next piece of an answer, None at its end. The first ends the answer before it."""

        def stepped() -> str | None:
            if self._current() is not answer and not answer._over:
                self._supersede()
                self._current = weakref.ref(answer)
            self._generating = True
            return answer._advance()

        return self.use(stepped)

    def alone(self, work: Callable[[], T]) -> T:
        """What `work` gives, which changes what the model holds: as step() it ends the answer before."""

        def worked() -> T:
            self._supersede()
            return work()

        return self.use(worked)

    def use(self, work: Callable[[], T]) -> T:
        """What `work` gives, nobody else using the model meanwhile."""
        if self._lock.locked() and (self._generating or self._inside):
            raise _busy()
        with self._used():
            return work()

    def look(self, work: Callable[[], T]) -> T:
        """What `work` gives, which only looks at the model: within the step under way, or after it."""
        if self._inside:
            return work()
        with self._used():
            return work()

    def stop(self) -> None:
        """End the answer in flight, or the one about to begin; once this returns another may be begun."""
        current, newest = self._current(), self._newest()
        answer = newest if current is None or current._over else current
        if answer is None or answer._over:
            return
        answer._stopped = True
        answer._abort(self._abort)
        while self._generating and not self._inside and not answer._over:
            time.sleep(_ABORT_EVERY_S)
            answer._abort(self._abort)  # a prompt that was about to begin may have passed the first one over

    def close(self) -> None:
        """Release the model: now, or as soon as the step that this is called from is done."""
        self.closed = True
        if self._inside:
            return
        while not self._lock.acquire(timeout=_ABORT_EVERY_S):
            self._abort()
        try:
            self._let_go()
        finally:
            self._lock.release()

    @property
    def _inside(self) -> bool:
        return self._holder is threading.current_thread() and self._lock.locked()

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            self._holder = threading.current_thread()
            try:
                if self.closed:
                    raise _closed()
                yield
                if self.closed:
                    raise _closed()
            finally:
                self._holder, self._generating = None, False
                if self.closed:
                    self._let_go()

    def _require_free(self) -> None:
        current = self._current()
        if current is not None and _is_iterated_elsewhere(current):
            raise _busy()

    def _supersede(self) -> None:
        self._require_free()
        current = self._current()
        if current is not None and not current._over:
            current._leave()
            current._superseded = not current._stopped

    def _let_go(self) -> None:
        current = self._current()
        if current is not None:
            current._leave()
        self._release()


def _is_iterated_elsewhere(answer: Answer) -> bool:
    others = answer._thread is not threading.current_thread() and answer._thread.is_alive()
    return others and not (answer._over or answer._stopped)


def _busy() -> UsageError:
    return UsageError(
        "the model is in use", "another thread generates with it, or this one within a step", _BUSY
    )


def _closed() -> UsageError:
    return UsageError("the model is closed", cure="load it again")
