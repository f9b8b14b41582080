"""Until when a request may still go elsewhere."""

from __future__ import annotations

from typing import Literal

State = Literal["waiting", "local_started", "left", "finished"]


class Handover:
    """waiting -> local_started | left, each -> finished; nothing ever leads back.

    Who sends to the client asks first: of the local answer and the upstream, the first to ask wins.
    """

    def __init__(self) -> None:
        self._state: State = "waiting"

    @property
    def state(self) -> State:
        """Where the request is."""
        return self._state

    def may_leave(self) -> bool:
        """True while nothing was sent and nobody has taken it."""
        return self._state == "waiting"

    def start_local(self) -> bool:
        """Before any byte or token of the local answer is sent: may it be?"""
        if self._state == "waiting":
            self._state = "local_started"
        return self._state == "local_started"

    def leave(self) -> bool:
        """Before it is sent upstream: may it be? True once at most."""
        if self._state != "waiting":
            return False
        self._state = "left"
        return True

    def finish(self) -> None:
        """Answered, failed or given up by the client."""
        self._state = "finished"
