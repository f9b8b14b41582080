"""Is the library laid out as structs.py says? Its own defaults, written over poison, tell.

A C function that returns a large structure receives the address to write it to. On x86-64 that address is an
ordinary first argument, so the defaults can be written into a buffer of ours, larger than the structure and
filled with a known pattern; what was overwritten shows the structure's true extent. Elsewhere the result is
received in an oversized structure and only the values are compared.
Does not see two fields of the same type and default that changed places.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sixgig.errors import EngineError
from sixgig.llamacpp.pin import BUILD, CURE_DAMAGED, WHEEL, WHEEL_VERSION
from sixgig.llamacpp.structs import CONTEXT_DEFAULTS, MODEL_DEFAULTS, ContextParams, ModelParams

PROBE_BYTES = 1024
POISONS = (0xA5, 0x5A)
_HIDDEN_POINTER_IS_AN_ARGUMENT = platform.machine() in ("x86_64", "AMD64")
_STRUCTURES = (
    ("llama_model_default_params", ModelParams, MODEL_DEFAULTS),
    ("llama_context_default_params", ContextParams, CONTEXT_DEFAULTS),
)


class _Oversized(ctypes.Structure):
    _fields_ = (("raw", ctypes.c_uint8 * PROBE_BYTES),)


def check_layout(c: ctypes.CDLL, found_version: str) -> None:
    """EngineError unless both parameter structures have the expected size, offsets and defaults."""
    problems = [
        f"{structure.__name__} {problem}"
        for function, structure, defaults in _STRUCTURES
        for problem in _problems(probe(c, function), structure, defaults)
    ]
    if problems:
        raise EngineError(
            f"the llama.cpp library is laid out differently from build {BUILD}",
            f"{'; '.join(problems[:4])}; needs {WHEEL} {WHEEL_VERSION}, found {found_version}",
            CURE_DAMAGED,
        )


def probe(c: ctypes.CDLL, function: str) -> list[bytes]:
    """What `function` leaves in PROBE_BYTES of each poison (one image without poison off x86-64)."""
    address = ctypes.cast(getattr(c, function), ctypes.c_void_p).value
    assert address is not None
    if not _HIDDEN_POINTER_IS_AN_ARGUMENT:
        return [bytes(ctypes.CFUNCTYPE(_Oversized)(address)().raw)]
    write = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address)
    return [_poisoned(write, poison) for poison in POISONS]


def _poisoned(write: Callable[[int], Any], poison: int) -> bytes:
    buffer = ctypes.create_string_buffer(bytes([poison]) * PROBE_BYTES, PROBE_BYTES)
    write(ctypes.addressof(buffer))
    return buffer.raw


def _problems(
    images: list[bytes], structure: type[ctypes.Structure], defaults: Mapping[str, Any]
) -> Iterator[str]:
    """One line per difference, the size first."""
    expected = structure(**defaults)
    if len(images) == len(POISONS):
        written, known = _extent(images), max(offset + size for _, offset, size in _spans(structure))
        if not known <= written <= ctypes.sizeof(structure):
            yield f"ends at byte {written}, expected {known}"
    for name, offset, size in _spans(structure):
        wanted = bytes(expected)[offset : offset + size]
        found = [image[offset : offset + size] for image in images]
        if any(value != wanted for value in found):
            yield f"{name} at byte {offset} is {found[0].hex()}, expected {wanted.hex()}"


def _spans(structure: type[ctypes.Structure]) -> list[tuple[str, int, int]]:
    """Name, offset and size in bytes of each field."""
    fields: Any = structure._fields_
    return [(name, getattr(structure, name).offset, getattr(structure, name).size) for name, _ in fields]


def _extent(images: list[bytes]) -> int:
    """Bytes up to and including the last one overwritten in either image."""
    pairs = list(zip(images, POISONS, strict=True))
    touched = (i for i in reversed(range(PROBE_BYTES)) if any(image[i] != poison for image, poison in pairs))
    return next(touched, -1) + 1
