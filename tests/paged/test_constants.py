"""What Python says again of native/ is what native/ says."""

import ctypes

from sixgig.modelfile import ZEROS
from sixgig.pager import native
from sixgig.pager.pager import CachePolicy
from sixgig.planning import footprint


class Constant(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("number", ctypes.c_int64), ("text", ctypes.c_char_p))


def native_constants():
    function = native.load_native().sixgig_constants
    function.restype = ctypes.POINTER(Constant)
    rows, found = function(), {}
    while rows[len(found)].name:
        row = rows[len(found)]
        found[row.name.decode()] = row.number if row.text is None else row.text.decode()
    return found


def test_numbers_and_layouts_of_the_native_library_are_what_python_takes_them_for():
    structures = (
        native.OpenedFile,
        native.PagedTensor,
        native.StreamSegment,
        native.NativeCounters,
        native.Failure,
    )
    assert native_constants() == {
        "page bytes": footprint.PAGE_BYTES,
        "stream bytes": footprint.STREAM_BYTES,
        "group bytes": footprint.GROUP_BYTES,
        "paged buffer": footprint.PAGED_BUFFER,
        "segment of zeros": ZEROS,
        "segment of the header": native.SEGMENT_HEADER,
        **{f"policy {policy.name}": policy.value for policy in CachePolicy},
        **{f"sizeof {structure.__name__}": ctypes.sizeof(structure) for structure in structures},
    }
