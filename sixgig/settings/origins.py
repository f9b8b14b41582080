"""Hosts and origins as headers name them, parsed strictly: what is not plainly one is none."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

ANY = "*"  # among allowed hosts or origins
_HOST = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?"
_AUTHORITY = re.compile(_HOST)
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,63})://" + _HOST)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """host: lower case, without brackets and a trailing dot, addresses in their shortest form."""

    host: str
    port: int | None

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """None for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """This machine itself, whatever a name server says. Covers no name below "localhost"."""
        return self.host == "localhost" or is_loopback(self.address)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class Origin:
    """Of a page; its port is None where it is the scheme's own."""

    scheme: str
    authority: Authority

    def is_at(self, authority: Authority) -> bool:
        """Was the page served under this very host and port?"""
        default = _DEFAULT_PORTS.get(self.scheme)
        mine, theirs = self.authority.port or default, authority.port or default
        return default is not None and (self.authority.host, mine) == (authority.host, theirs)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Also of 127.0.0.1 in IPv6's spelling."""
    mapped = getattr(address, "ipv4_mapped", None)
    return address is not None and (address if mapped is None else mapped).is_loopback


@lru_cache(maxsize=256)  # nearly all requests have one of a few
def parse_authority(text: str) -> Authority | None:
    """Of a Host header; None for what is none, as "user@host", "host:", a path, or a list."""
    match = _AUTHORITY.fullmatch(text)
    return None if match is None else _authority(match[1], match[2])


def parse_origin(text: str) -> Origin | None:
    """Of an Origin header; None for "null" and for all that is none."""
    match = _ORIGIN.fullmatch(text)
    authority = None if match is None else _authority(match[2], match[3])
    if match is None or authority is None:
        return None
    scheme = match[1].lower()
    port = None if authority.port == _DEFAULT_PORTS.get(scheme) else authority.port
    return Origin(scheme, Authority(authority.host, port))


def _authority(host: str, port: str | None) -> Authority | None:
    if port is not None and not 0 < int(port) < 65536:
        return None
    if host.startswith("["):
        try:
            return Authority(str(ipaddress.IPv6Address(host[1:-1])), None if port is None else int(port))
        except ValueError:
            return None
    host = host.lower().removesuffix(".")
    if not all(host.split(".")):
        return None
    return Authority(host, None if port is None else int(port))
