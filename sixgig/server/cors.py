"""Which web pages may use this server: its own, and those of allowed origins. No other, not even blindly."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers

from sixgig.gateway.answer import RefusedError
from sixgig.settings.origins import ANY, Authority, parse_origin

_FOREIGN = "pages of other sites may not use this server"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_-]+( *, *[A-Za-z0-9_-]+)*")
_PREFLIGHT_S = b"600"
RawHeaders = list[tuple[bytes, bytes]]


class OriginGate:
    """Decides by Origin and, where a browser sends none, by Fetch Metadata (Sec-Fetch-Site)."""

    def __init__(self, allowed_origins: Iterable[str]) -> None:
        self._allowed = frozenset(allowed_origins)

    def check(self, headers: Headers, authority: Authority) -> str | None:
        """Which foreign origin is allowed, "*" for any; None for the server's own pages and for no page.

        authority: the Host, checked before, or a page could name itself. Raises RefusedError (403).
        """
        origins = headers.getlist("origin")
        if not origins:
            _check_blind(headers)
            return None
        parsed = parse_origin(origins[0]) if len(origins) == 1 else None
        if parsed is not None and parsed.is_at(authority):
            return None
        for allowed in (ANY, str(parsed)):
            if allowed in self._allowed:
                return allowed
        cure = "have the owner add its origin to allowed_origins"
        raise RefusedError(403, _FOREIGN, f"this one is of {origins[0][:80]!a}", cure)

    def headers(self, origin: str | None) -> RawHeaders:
        """What every response says; origin: as `check` returned it."""
        vary = [(b"vary", b"Origin")] if self._allowed else []
        if origin is None:
            return vary
        return [
            *vary,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"*"),
        ]


def preflight_headers(headers: Headers) -> RawHeaders:
    """For an allowed origin: it may do all it asks for, but never with a browser's stored credentials."""
    asked = headers.get("access-control-request-headers", "")
    granted = [
        (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
        (b"access-control-max-age", _PREFLIGHT_S),
        (b"vary", b"Access-Control-Request-Headers"),
    ]
    if _HEADER_NAMES.fullmatch(asked):
        granted.append((b"access-control-allow-headers", asked.encode("latin-1")))
    if headers.get("access-control-request-private-network") == "true":
        granted.append((b"access-control-allow-private-network", b"true"))
    return granted


def _check_blind(headers: Headers) -> None:
    """Pictures, scripts and frames come without Origin. A link that someone follows is no page's doing."""
    sites = headers.getlist("sec-fetch-site")
    followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    if not (sites in ([], ["none"], ["same-origin"]) or followed):
        raise RefusedError(403, _FOREIGN, f"Sec-Fetch-Site: {', '.join(sites)[:80]!a}", "open it by itself")
