"""For which hosts this server answers: what a web page could make a browser believe is not among them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from sixgig.gateway.answer import RefusedError
from sixgig.settings.origins import ANY, Authority, parse_authority

_CURE = "ask under this machine's own name, or have the owner add it to allowed_hosts"


class HostGate:
    """Lets in loopback names and addresses, the host listened on, the address a connection came to, and those
    allowed. A foreign name that resolves to this machine (DNS rebinding) is none of these.
    """

    def __init__(self, host: str, allowed_hosts: Iterable[str]) -> None:
        allowed = [host, *allowed_hosts]
        self._any = ANY in allowed
        self._names = {name for name in allowed if not name.startswith("*")}
        self._below = tuple(name[1:] for name in allowed if name.startswith("*."))

    def check(self, headers: Sequence[str], connected_to: str | None) -> Authority:
        """Who the client believes to talk to. headers: every Host header. connected_to: the local address.

        Raises RefusedError: 400 for none, several, or what is no host; 421 for a foreign one.
        """
        authority = parse_authority(headers[0]) if len(headers) == 1 else None
        if authority is None:
            numbers = f"{len(headers)} Host headers" if len(headers) != 1 else f"it is {headers[0][:80]!a}"
            raise RefusedError(400, "the Host header must name one host", numbers, "send one")
        if not (self._is_allowed(authority) or _is_address(authority, connected_to)):
            raise RefusedError(421, f"this server is not {str(authority)[:80]}", "", _CURE)
        return authority

    def _is_allowed(self, authority: Authority) -> bool:
        host = authority.host
        return self._any or authority.is_loopback or host in self._names or host.endswith(self._below)


def _is_address(authority: Authority, connected_to: str | None) -> bool:
    """No name server has a say in an address."""
    try:
        local = ipaddress.ip_address((connected_to or "").partition("%")[0])
    except ValueError:
        return False
    return authority.address in (local, getattr(local, "ipv4_mapped", None) or local)
