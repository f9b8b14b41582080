"""A small cache on disk: pieces of bytes by key, each proved by a checksum, the oldest dropped first.

It never fails: what cannot be read or is damaged is absent, what cannot be written is not kept.
"""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from sixgig.atomic import replace_file

_LIMIT_BYTES = 256 * 1024**2
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Store:
    """The pieces in `folder`, all of them together at most `limit_bytes`."""

    folder: Path
    limit_bytes: int = _LIMIT_BYTES

    def load(self, key: str) -> bytes | None:
        """What was saved under `key`, None when it is not there or not whole. It becomes the newest."""
        path = self._path(key)
        try:
            raw = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        return content if digest == hashlib.sha256(content).digest() else None

    def save(self, key: str, content: bytes) -> None:
        """Keeps `content` under `key`, whole or not at all, and makes room for it."""
        if len(content) + _DIGEST_BYTES > self.limit_bytes:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._path(key), hashlib.sha256(content).digest() + content)
            self._evict()

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()

    def _evict(self) -> None:
        """Removes the files longest unused until the rest is within the limit."""
        files = [(path, path.stat()) for path in self.folder.iterdir() if path.is_file()]
        excess = sum(status.st_size for _, status in files) - self.limit_bytes
        for path, status in sorted(files, key=lambda one: one[1].st_mtime_ns):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= status.st_size


def header_store() -> Store:
    """Where headers and listings of remote models are kept between runs."""
    return Store(Path(platformdirs.user_cache_dir("sixgig")) / "headers")
