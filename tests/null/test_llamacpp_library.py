import ctypes
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from sixgig.errors import EngineError
from sixgig.llamacpp import WHEEL_VERSION, ContextParams, layout, library, load_library, signatures, structs


def test_the_library_opens_once_and_knows_itself():
    first = load_library()
    assert load_library() is first
    assert first.version == WHEEL_VERSION and first.path.is_file()
    assert len(first.sha256) == 64


OPEN = """
import threading
from concurrent.futures import ThreadPoolExecutor
from sixgig.llamacpp import load_library
from sixgig.pager.native import load_native
start = threading.Barrier(4)

def opened(_number):
    start.wait()
    return load_library(), load_native()

with ThreadPoolExecutor(4) as threads:
    print(len(set(map(lambda pair: tuple(map(id, pair)), threads.map(opened, range(4))))))
"""


def test_threads_that_open_it_first_open_the_same_one():
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, timeout=60)
    assert done.stdout == "1\n", done.stderr


def test_its_symbols_are_visible_to_libraries_loaded_later():
    load_library()
    assert ctypes.CDLL(None).ggml_backend_register


def test_another_version_names_both_and_the_cure(monkeypatch):
    monkeypatch.setattr(library, "version", lambda _name: "2026.11.9")
    with pytest.raises(EngineError, match=r"found 2026.11.9, needs 2026.10.11549.*xllamacpp=="):
        library.installed_version()


def test_a_missing_wheel_names_the_cure(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(library, "version", absent)
    with pytest.raises(EngineError, match=r"not installed.*pip install xllamacpp=="):
        library.installed_version()


def test_a_missing_libgomp_names_the_cure(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(library.ctypes, "CDLL", refuse)
    with pytest.raises(EngineError, match="apt install libgomp1"):
        library._open(Path("x.so"))


def test_a_file_that_is_no_library_is_an_engine_error(tmp_path):
    (tmp_path / "x.so").write_bytes(b"not a library")
    with pytest.raises(EngineError, match=r"does not load.*--force-reinstall"):
        library._open(tmp_path / "x.so")


def test_a_missing_function_is_named(monkeypatch):
    monkeypatch.setitem(signatures.SIGNATURES, "llama_no_such_function", (None, ()))
    with pytest.raises(EngineError, match="llama_no_such_function"):
        signatures.declare(load_library().c)


def test_layout_passes_on_the_pinned_wheel():
    layout.check_layout(load_library().c, WHEEL_VERSION)


def _fields_without(name):
    return [field for field in ContextParams._fields_ if field[0] != name]


def _faked(monkeypatch, fields, defaults):
    fake = type("ContextParams", (ctypes.Structure,), {"_fields_": fields})
    faked = (layout._STRUCTURES[0], ("llama_context_default_params", fake, defaults))
    monkeypatch.setattr(layout, "_STRUCTURES", faked)


def test_a_field_too_few_is_refused(monkeypatch):
    _faked(monkeypatch, _fields_without("moe_cache_size"), structs.CONTEXT_DEFAULTS)
    with pytest.raises(EngineError, match=r"at byte 168, expected 160.*needs xllamacpp 2026.*found 1\.2\.3"):
        layout.check_layout(load_library().c, "1.2.3")


def test_a_field_too_many_is_refused(monkeypatch):
    _faked(monkeypatch, [*ContextParams._fields_, ("later", ctypes.c_void_p)], structs.CONTEXT_DEFAULTS)
    with pytest.raises(EngineError, match="ends at byte 168, expected 176"):
        layout.check_layout(load_library().c, WHEEL_VERSION)


def test_another_default_is_refused(monkeypatch):
    _faked(monkeypatch, ContextParams._fields_, structs.CONTEXT_DEFAULTS | {"n_batch": 4096})
    with pytest.raises(EngineError, match="n_batch at byte 4 is 00080000, expected 00100000"):
        layout.check_layout(load_library().c, WHEEL_VERSION)


def test_off_x86_the_values_alone_are_compared(monkeypatch):
    monkeypatch.setattr(layout, "_HIDDEN_POINTER_IS_AN_ARGUMENT", False)
    layout.check_layout(load_library().c, WHEEL_VERSION)
    _faked(monkeypatch, ContextParams._fields_, structs.CONTEXT_DEFAULTS | {"type_k": 8})
    with pytest.raises(EngineError, match="type_k"):
        layout.check_layout(load_library().c, WHEEL_VERSION)


def test_the_log_is_kept_and_not_printed(capfd, tmp_path):
    engine = load_library()
    engine.log.clear()
    (tmp_path / "bad.gguf").write_bytes(b"GGUX" + bytes(100))
    params = engine.c.llama_model_default_params()
    assert engine.c.llama_model_load_from_file(bytes(tmp_path / "bad.gguf"), params) is None
    assert "magic" in engine.log.complaint()
    assert 0 < len(engine.log.lines()) <= 50
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""
