"""A private folder for the sockets of one server's engines, and what dead servers left of theirs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sixgig.errors import UsageError

PREFIX = "sixgig-serve-"
_LOCK = "lock"
# The kernel takes 107 bytes of path: sun_path of unix(7), and its zero.
_MOST_BYTES = 107 - len("/123456789.sock")
_SHORT = ("/tmp", "/dev/shm", "/var/tmp")


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """A new folder that only this user may enter, gone after the block. Raises UsageError where none can be.

    It lies where temporary files belong (TMPDIR), or where sockets do, if that path is too long for one.
    """
    folder, lock = _made()
    try:
        _remove_dead(folder.parent)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    """The folder, and its lock file, which is held as long as this process lives."""
    reasons = []
    for parent in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), *_SHORT):
        if not parent or len(os.fsencode(parent)) + len(f"/{PREFIX}12345678") > _MOST_BYTES:
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder, lock
    what = "there is no folder for the engines' sockets"
    raise UsageError(what, "; ".join(reasons), f"set TMPDIR to a folder of at most {_MOST_BYTES - 22} bytes")


def _remove_dead(parent: Path) -> None:
    """Folders of this user's servers that nobody holds the lock of: killed ones could not tidy up."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
