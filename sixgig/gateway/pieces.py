"""Bytes that come in pieces, cut where something ends. Pure; each byte is looked at once, or a few times."""

from __future__ import annotations

LINE_ENDS = (b"\n",)
EVENT_ENDS = (b"\n\n", b"\n\r\n")  # of server-sent events, whatever ends their lines


class PieceBuffer:
    """feed() it bytes in order. rest: what came after the last end; n_bytes: how much that is."""

    def __init__(self, ends: tuple[bytes, ...]) -> None:
        self._ends, self._overlap = ends, max(map(len, ends)) - 1
        self._kept = bytearray()

    @property
    def n_bytes(self) -> int:
        """Of the rest."""
        return len(self._kept)

    @property
    def rest(self) -> bytes:
        """A copy."""
        return bytes(self._kept)

    def feed(self, piece: bytes) -> bytes:
        """All up to the last end, which is with it; empty where none has come."""
        begun = bytes(self._kept[-self._overlap :]) if self._overlap else b""
        joined = begun + piece
        found = max((at + len(end) for end in self._ends if (at := joined.rfind(end)) >= 0), default=0)
        cut = found - len(begun)
        if cut <= 0:
            self._kept += piece
            return b""
        whole = bytes(self._kept) + piece[:cut]
        self._kept = bytearray(piece[cut:])
        return whole

    def clear(self) -> None:
        """Forget the rest."""
        self._kept = bytearray()
