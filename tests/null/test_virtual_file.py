"""The stream llama.cpp reads: a split set read as one file gives the unsplit model's logits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sixgig.families import Role
from sixgig.llamacpp import load_library
from sixgig.modelfile import ZEROS, ModelFile, Segment, VirtualFile, open_model, read_tensor, virtual_file
from tests.null.test_tiny_models import TOKENS, decoded
from tests.tiny.models import DENSE, MIXTURES

Tiny = Callable[..., Path]


def content(model: ModelFile, stream: VirtualFile) -> bytes:
    """The stream's bytes, with zeros where the engine must not read."""
    raw = bytearray(stream.header)
    for segment in stream.segments:
        assert segment.start == len(raw)
        raw += piece(model, segment)
    assert len(raw) == stream.size_bytes
    return bytes(raw)


def piece(model: ModelFile, segment: Segment) -> bytes:
    if segment.skip or segment.part == ZEROS:
        return bytes(segment.size)
    with model.parts[segment.part].open("rb") as file:
        file.seek(segment.offset)
        return file.read(segment.size)


@pytest.mark.parametrize("architecture", [*MIXTURES, *DENSE])
@pytest.mark.parametrize("page", [False, True])
def test_one_file_keeps_its_bytes_and_offsets(architecture: str, page: bool, tiny: Tiny) -> None:
    path = tiny(architecture)
    model = open_model(path)
    stream = virtual_file(model, page)
    assert stream.header == b"" and stream.size_bytes == path.stat().st_size
    assert all(segment.start == segment.offset and segment.part == 0 for segment in stream.segments)
    assert sum(segment.size for segment in stream.segments if segment.skip) == (
        model.routed_bytes if page else 0
    )
    assert page or content(model, stream) == path.read_bytes()


@pytest.mark.parametrize("architecture", ["qwen35moe", "gpt-oss"])
@pytest.mark.parametrize("max_tensors", [1, 7, 30])
def test_parts_merge_into_the_unsplit_model(
    architecture: str, max_tensors: int, tiny: Tiny, tmp_path: Path
) -> None:
    whole = open_model(tiny(architecture, "F16", expert_width=64))
    split = open_model(tiny(architecture, "F16", expert_width=64, max_tensors_per_file=max_tensors))
    assert len(split.parts) == -(-len(whole.tensors) // max_tensors)
    merged = tmp_path / "merged.gguf"
    merged.write_bytes(content(split, virtual_file(split, page=False)))
    again = open_model(merged)
    assert [tensor.name for tensor in again.tensors] == [tensor.name for tensor in whole.tensors]
    assert set(again.metadata) == set(whole.metadata)
    for ours, theirs in zip(again.tensors, whole.tensors, strict=True):
        assert (read_tensor(again, ours) == read_tensor(whole, theirs)).all()


def test_llama_cpp_reads_the_merged_stream(tiny: Tiny, tmp_path: Path) -> None:
    whole = tiny("qwen35moe")
    split = open_model(tiny("qwen35moe", max_tensors_per_file=11))
    merged = tmp_path / "merged.gguf"
    merged.write_bytes(content(split, virtual_file(split, page=False)))
    library = load_library()
    assert np.array_equal(decoded(library, merged, TOKENS), decoded(library, whole, TOKENS))
    assert np.array_equal(decoded(library, split.parts[0], TOKENS), decoded(library, whole, TOKENS))


def test_paged_split_set_skips_only_routed_experts(tiny: Tiny) -> None:
    split = open_model(tiny("deepseek2", max_tensors_per_file=9))
    skipped = {(s.part, s.offset, s.size) for s in virtual_file(split, page=True).segments if s.skip}
    routed = {(t.part, t.offset, t.size_bytes) for t in split.tensors if t.role is Role.ROUTED_EXPERT}
    assert skipped == routed and routed
