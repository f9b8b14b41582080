"""One range of a file over HTTP, through the hub's session: its token, proxies and offline switch hold."""

import time
from collections.abc import Iterator
from typing import Any

from sixgig.errors import ModelFileError
from sixgig.modelfile.listing import HubFile, first_line, refused

_WAITS_S = (0.5, 2.0)
_TIMEOUT_S = 10.0
_DEADLINE_S = 60.0
_AGAIN = (408, 429, 500, 502, 503, 504)
_NO_RANGES = "fetch the file and name its path"


class _Interrupted(Exception):
    """What may pass when it is tried again."""


def fetch_range(file: HubFile, offset: int, size: int) -> bytes:
    """Exactly the `size` bytes of a located file from `offset` on, which must lie inside it.

    Interruptions are tried again twice; ModelFileError for them then, and at once for what will not change.
    """
    from huggingface_hub.errors import OfflineModeIsEnabled

    for wait_s in (*_WAITS_S, None):
        try:
            return _fetch(file, offset, size)
        except ModelFileError:
            raise
        except Exception as error:  # the transport has its own error tree, which changes between releases
            if wait_s is None or isinstance(error, OfflineModeIsEnabled):
                reason = str(error) if isinstance(error, _Interrupted) else first_line(error)
                numbers = f"bytes {offset} to {offset + size}: {reason}"
                raise _error(file, "cannot be read", numbers, "check the network, then try again") from error
        time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _fetch(file: HubFile, offset: int, size: int) -> bytes:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session  # type: ignore[attr-defined]

    url = hf_hub_url(file.repository, file.name, revision=file.commit)
    wanted = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
    headers = build_hf_headers() | wanted
    with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S) as response:
        _check(file, response, offset, size)
        return _body(file, response.iter_raw(), size)


def _check(file: HubFile, response: Any, offset: int, size: int) -> None:
    """The answer is the range asked for, of a file as long as announced, as it is stored."""
    status, headers = response.status_code, response.headers
    if status in _AGAIN:
        raise _Interrupted(f"HTTP {status}")
    if status in (401, 403, 404):
        raise refused(f"hf:{file.repository}/{file.name}", status)
    if status != 206:
        numbers = f"HTTP {status}, {headers.get('content-type', 'no type')[:80]}"
        raise _error(file, "cannot be read in ranges", numbers, _NO_RANGES)
    expected = f"bytes {offset}-{offset + size - 1}/{file.size_bytes}"
    if (found := headers.get("content-range", "none")) != expected:
        numbers = f"asked for {expected}, got {found[:80]}"
        raise _error(file, "is not what the hub lists", numbers, "try again later: it may be changing")
    if (encoding := headers.get("content-encoding", "identity")) != "identity":
        raise _error(file, "cannot be read in ranges", f"sent as {encoding[:40]}", _NO_RANGES)


def _body(file: HubFile, chunks: Iterator[bytes], size: int) -> bytes:
    """The body, which must have `size` bytes and come in time."""
    body, deadline = bytearray(), time.monotonic() + _DEADLINE_S
    for chunk in chunks:
        body += chunk
        if len(body) > size:
            raise _error(
                file, "cannot be read in ranges", f"more than the {size} bytes asked for", _NO_RANGES
            )
        if time.monotonic() > deadline:
            raise _Interrupted(f"{len(body)} of {size} bytes in {_DEADLINE_S:.0f} s")
    if len(body) < size:
        raise _Interrupted(f"{len(body)} of {size} bytes came")
    return bytes(body)


def _error(file: HubFile, what: str, numbers: str, cure: str) -> ModelFileError:
    return ModelFileError(f"hf:{file.repository}: {file.name} {what}", numbers, cure)
