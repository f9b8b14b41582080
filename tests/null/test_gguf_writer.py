"""A new file's header: what is kept is kept to the byte, what changes changes, every tensor on its page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sixgig.modelfile import TYPE_BY_NAME, Header, local_file, open_model, read_header
from sixgig.modelfile.metadata import Entry, ValueType
from sixgig.modelfile.writer import PAGE_BYTES, Layout, NewTensor, lay_out

Tiny = Callable[..., Path]
SHARED = [HealthCheck.function_scoped_fixture]
TENSORS = (
    NewTensor("token_embd.weight", (256, 3), TYPE_BY_NAME["Q4_K"]),
    NewTensor("output_norm.weight", (5,), TYPE_BY_NAME["F32"]),
    NewTensor("blk.0.ffn_down_exps.weight", (64, 3, 2), TYPE_BY_NAME["Q8_0"]),
)


@pytest.fixture
def source(tmp_path: Path) -> Header:
    """A file with a pair of every type."""
    writer = GGUFWriter(tmp_path / "source.gguf", "llama")
    for kind, value in (
        ("uint8", 200),
        ("int8", -7),
        ("uint16", 60_000),
        ("int16", -30_000),
        ("uint32", 4_000_000_000),
        ("int32", -5),
        ("uint64", 1 << 60),
        ("int64", -(1 << 60)),
        ("float32", 0.1),
        ("float64", 0.1),
        ("bool", True),
        ("string", "words, ünïcode"),
    ):
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_array("a.strings", ["x", "", "ÿ" * 100])
    writer.add_array("a.integers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, -0.25])
    writer.add_uint16("split.no", 0)
    writer.add_uint16("split.count", 1)
    writer.add_int32("split.tensors.count", 1)
    writer.add_string("last", "of all")
    writer.add_tensor("output_norm.weight", np.ones(5, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return read_header(local_file(tmp_path / "source.gguf"))


def write(path: Path, layout: Layout, contents: dict[int, bytes] | None = None) -> Header:
    """The file, zeros where there are no contents; read back by our own parser."""
    raw = bytearray(layout.size_bytes)
    raw[: len(layout.header)] = layout.header
    for number, content in (contents or {}).items():
        start = layout.offsets[number]
        raw[start : start + len(content)] = content
    path.write_bytes(raw)
    return read_header(local_file(path))


def raw_pairs(header: Header) -> dict[str, bytes]:
    """Each pair's bytes."""
    source = header.metadata.source
    return {entry.key: source.read(entry.start, entry.end - entry.start) for entry in header.metadata.entries}


def entry(header: Header, key: str) -> Entry:
    return next(found for found in header.metadata.entries if found.key == key)


def by_gguf(path: Path, key: str) -> Any:
    return GGUFReader(path).fields[key].contents()


def test_pairs_that_stay_are_copied_byte_for_byte_in_their_order(source: Header, tmp_path: Path) -> None:
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, {"a.bool": None}, TENSORS))
    before, after = raw_pairs(source), raw_pairs(made)
    kept = [key for key in before if key not in ("a.bool", "split.no", "split.count", "split.tensors.count")]
    assert list(after) == [*kept, "general.alignment"]
    assert all(after[key] == before[key] for key in kept)


def test_what_told_of_split_files_is_left_out(source: Header, tmp_path: Path) -> None:
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, {}, TENSORS))
    assert not [key for key in made.metadata if key.startswith("split.")]


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_a_changed_number_keeps_the_type_it_had(source: Header, tmp_path: Path, kind: str) -> None:
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, {f"a.{kind}": 11}, TENSORS))
    found = entry(made, f"a.{kind}")
    assert found.type is ValueType[kind.upper()] and found.value == 11
    assert by_gguf(tmp_path / "made.gguf", f"a.{kind}") == 11


def test_changed_values_of_other_types(source: Header, tmp_path: Path) -> None:
    changes = {"a.float64": 0.3, "a.float32": 3, "a.string": "other ö", "a.bool": False, "a.int8": "text now"}
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, changes, TENSORS)).metadata
    assert made.get("a.float64") == 0.3 and made.get("a.float32") == 3.0
    assert made.text("a.string") == "other ö" and made.get("a.bool") is False
    assert made.text("a.int8") == "text now"


def test_a_changed_pair_stays_in_its_place(source: Header, tmp_path: Path) -> None:
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, {"a.uint16": 3}, TENSORS))
    keys = [key for key in source.metadata if not key.startswith("split.")]
    assert list(made.metadata) == [*keys, "general.alignment"]


def test_new_pairs(source: Header, tmp_path: Path) -> None:
    changes = {"n.int": 7, "n.float": 0.5, "n.text": "é", "n.yes": True, "n.none": None}
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, changes, TENSORS))
    types = {key: entry(made, key).type.name for key in ("n.int", "n.float", "n.text", "n.yes")}
    assert types == {"n.int": "UINT32", "n.float": "FLOAT32", "n.text": "STRING", "n.yes": "BOOL"}
    assert "n.none" not in made.metadata
    read = {key: by_gguf(tmp_path / "made.gguf", key) for key in types}
    assert read == {"n.int": 7, "n.float": 0.5, "n.text": "é", "n.yes": True}


@pytest.mark.parametrize("key", ["a.strings", "a.uint32", "n.new"])
@pytest.mark.parametrize("values", [[3, 1, 2], [0.5, -2.0], ["a", "", "ß" * 300], [7]])
def test_a_list_becomes_an_array(source: Header, tmp_path: Path, key: str, values: list[Any]) -> None:
    made = write(tmp_path / "made.gguf", lay_out(source.metadata, {key: values}, TENSORS))
    assert made.metadata.array(key) == values
    assert list(by_gguf(tmp_path / "made.gguf", key)) == values
    assert GGUFReader(tmp_path / "made.gguf").fields[key].types[0] is GGUFValueType.ARRAY


def test_tensors_lie_on_pages_and_the_gguf_package_reads_them(source: Header, tmp_path: Path) -> None:
    contents = {
        number: np.random.default_rng(number).bytes(tensor.size_bytes)
        for number, tensor in enumerate(TENSORS)
    }
    layout = lay_out(source.metadata, {}, TENSORS)
    path = tmp_path / "made.gguf"
    made = write(path, layout, contents)
    assert path.stat().st_size == layout.size_bytes and layout.size_bytes % PAGE_BYTES == 0
    assert made.alignment == PAGE_BYTES and made.data_start == len(layout.header)
    read = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    for number, (tensor, info) in enumerate(zip(TENSORS, made.tensors, strict=True)):
        assert (info.name, info.shape, info.type) == (tensor.name, tensor.shape, tensor.type)
        assert info.offset == layout.offsets[number] and info.offset % PAGE_BYTES == 0
        assert info.size_bytes == tensor.size_bytes
        found = read[tensor.name]
        assert tuple(found.shape) == tensor.shape and found.tensor_type.name == tensor.type.name
        assert found.data.tobytes() == contents[number]


def test_a_whole_model_laid_out_anew_opens_as_before(tiny: Tiny, tmp_path: Path) -> None:
    model = open_model(tiny("qwen3moe", max_tensors_per_file=20))
    assert len(model.parts) > 1
    new = [NewTensor(tensor.name, tensor.shape, tensor.type) for tensor in model.tensors]
    write(tmp_path / "one.gguf", lay_out(model.metadata, {}, new))
    made = open_model(tmp_path / "one.gguf")
    assert len(made.parts) == 1 and made.hyperparameters == model.hyperparameters
    shapes = [[(t.name, t.shape, t.type, t.role) for t in each.tensors] for each in (model, made)]
    assert shapes[0] == shapes[1]
    assert made.metadata.array("tokenizer.ggml.tokens") == model.metadata.array("tokenizer.ggml.tokens")


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15)
VALUES = (
    st.integers(0, 2**32 - 1)
    | st.floats(width=32, allow_nan=False)
    | st.text(st.characters(codec="utf-8"), max_size=50)
    | st.booleans()
    | st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=9)
    | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9)
    | st.lists(st.text(st.characters(codec="utf-8"), max_size=9), min_size=1, max_size=9)
)
MADE = st.builds(
    NewTensor,
    NAMES,
    st.tuples(st.integers(1, 3).map(lambda n: 256 * n), st.integers(1, 5), st.integers(1, 3)),
    st.sampled_from([TYPE_BY_NAME[name] for name in ("F32", "BF16", "Q8_0", "Q4_0", "Q2_K", "IQ1_S")]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
@given(
    st.dictionaries(NAMES.map(lambda name: "n." + name), VALUES, max_size=6),
    st.lists(MADE, max_size=5, unique_by=lambda tensor: tensor.name),
    st.sampled_from([32, 256, 4096, 65536]),
)
def test_whatever_is_laid_out_reads_back(
    source: Header, tmp_path: Path, changes: dict[str, Any], tensors: list[NewTensor], alignment: int
) -> None:
    layout = lay_out(source.metadata, changes, tensors, alignment)
    made = write(tmp_path / "made.gguf", layout)
    for key, value in changes.items():
        found = made.metadata.array(key) if isinstance(value, list) else made.metadata.get(key)
        assert found == value
    assert [(info.name, info.shape, info.type) for info in made.tensors] == [
        (tensor.name, tensor.shape, tensor.type) for tensor in tensors
    ]
    ends = [0, *(info.offset + info.size_bytes for info in made.tensors)]
    for info, before in zip(made.tensors, ends, strict=False):
        assert info.offset % alignment == 0 and info.offset >= max(before, len(layout.header))
    assert len(layout.header) % alignment == layout.size_bytes % alignment == 0
    before, after = raw_pairs(source), raw_pairs(made)
    assert all(after[key] == before[key] for key in before if not key.startswith("split."))
