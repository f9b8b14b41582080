"""Find, check and open the pinned llama.cpp library."""

import ctypes
import functools
import hashlib
import importlib.util
import os
import threading
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sixgig.errors import EngineError
from sixgig.llamacpp.layout import check_layout
from sixgig.llamacpp.log import LogTail
from sixgig.llamacpp.pin import CURE, CURE_DAMAGED, WHEEL, WHEEL_VERSION
from sixgig.llamacpp.signatures import declare

_ONE_OPENS = threading.Lock()
_SHORT_SPIN = "1000"  # rounds; the default of 300,000 is about a millisecond
_GOMP_CURE = "install it: apt install libgomp1, dnf install libgomp, or apk add libgomp"


@dataclass(frozen=True)
class Library:
    """The open library. `c` has every signature set; `log` holds what the engine said last."""

    path: Path
    version: str
    c: ctypes.CDLL
    log: LogTail

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest of the library file (about 100 MB, read once on first use)."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def load_library() -> Library:
    """Open the engine once per process, its symbols visible to libraries loaded later (RTLD_GLOBAL).

    The wheel's Python face is not imported: only its C symbols are used, and its log is silenced.
    Raises EngineError: not installed, another version, libgomp missing, functions or layout differ.
    """
    with _ONE_OPENS:  # two of its logs would each get a part
        return _open_library()


@functools.cache
def _open_library() -> Library:
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an assertion says which it is, no debugger what ran
    found = installed_version()
    path = _library_path()
    c = _open(path)
    declare(c)
    check_layout(c, found)
    log = LogTail(c)
    c.llama_backend_init()
    return Library(path, found, c, log)


def let_threads_sleep() -> None:
    """Make OpenMP threads that wait sleep soon: spinning ones take the cores that reading threads need.

    Measured in LOG.md: never sleeping loses under load, sleeping at once loses on an idle machine.
    """
    if may_choose_waiting():
        os.environ["GOMP_SPINCOUNT"] = _SHORT_SPIN


def may_choose_waiting() -> bool:
    """Whether that has an effect: libgomp looks once, when it is loaded; what the user has chosen stands."""
    chosen = any(name in os.environ for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))
    return not chosen and not _open_library.cache_info().currsize


def installed_version() -> str:
    """The wheel's version; EngineError unless it is exactly the pinned one."""
    try:
        found = version(WHEEL)
    except PackageNotFoundError as error:
        raise EngineError(f"{WHEEL} is not installed", f"needs version {WHEEL_VERSION}", CURE) from error
    if found != WHEEL_VERSION:
        raise EngineError(f"{WHEEL} has the wrong version", f"found {found}, needs {WHEEL_VERSION}", CURE)
    return found


def _library_path() -> Path:
    """The wheel's one extension module, found without running its package."""
    package = importlib.util.find_spec(WHEEL)
    for folder in (package and package.submodule_search_locations) or ():
        module = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(WHEEL)
        if module is not None and module.origin:
            return Path(module.origin)
    raise EngineError(f"{WHEEL} {WHEEL_VERSION} holds no library", cure=CURE_DAMAGED)


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL | getattr(os, "RTLD_NOW", 0))
    except OSError as error:
        if "libgomp" in str(error):
            raise EngineError(
                "the OpenMP runtime is missing", "libgomp.so.1 not found", _GOMP_CURE
            ) from error
        raise EngineError(f"the {WHEEL} library does not load", str(error), CURE_DAMAGED) from error
