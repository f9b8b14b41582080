"""Make the demo model that ships in the package: a small trained mixture of experts in under 16 MB.

    python -m bench.make_demo_model pep-moe-31m-BF16.gguf sixgig/demo/pep-moe-31m.gguf

Deterministic: the same source gives the same bytes. Every tensor starts on a page, so that experts can be
read past the page cache. The types below are the best of those measured at this size (LOG.md has the table);
what the source keeps in F32 (norms, routers, convolutions) stays so.
"""

import argparse
import ctypes
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from sixgig.families import Family, Role, family
from sixgig.llamacpp import load_library
from sixgig.units import format_bytes

ALIGNMENT_BYTES = 4096
RECIPE = {
    Role.ROUTED_EXPERT: Type.Q3_K,
    Role.SHARED_EXPERT: Type.Q5_K,
    Role.ATTENTION: Type.Q5_K,
    Role.LINEAR_ATTENTION: Type.Q5_K,
    Role.EMBEDDING: Type.Q5_K,
    Role.HEAD: Type.Q6_K,
}
SMALL_ELEMENTS, SMALL_TYPE = 4096, Type.Q8_0

DESCRIPTION = (
    "A 31M-parameter language model in the Qwen3.5-MoE architecture, trained from scratch on Python "
    "Enhancement Proposals in the public domain. It continues text in their words and layout and shows the "
    "expert pager at work. It knows nothing, follows no instructions, and its answers mean nothing."
)
METADATA = {
    "general.name": "pep-moe-31m",
    "general.description": DESCRIPTION,
    "general.license": "CC0-1.0",
    "general.license.name": "public domain",
}


def chosen_type(tensor: gguf.ReaderTensor, model: Family) -> Type:
    """The type a tensor is written in."""
    if tensor.tensor_type == Type.F32:
        return Type.F32
    if tensor.n_elements <= SMALL_ELEMENTS:
        return SMALL_TYPE
    role, _ = model.classify(tensor.name)
    return RECIPE[role]


def quantise(weights: NDArray[np.float32], kind: Type) -> NDArray[np.uint8]:
    """Rows of float32 [..., n] as ggml blocks [..., bytes per row], by the engine's own quantiser."""
    row = weights.shape[-1]
    block_elements, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    blocks = np.empty((*weights.shape[:-1], row // block_elements * block_bytes), np.uint8)
    quantiser = load_library().c.ggml_quantize_chunk
    quantiser.restype = ctypes.c_size_t
    quantiser.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    written = quantiser(kind, weights.ctypes.data, blocks.ctypes.data, 0, weights.size // row, row, None)
    assert written == blocks.nbytes, f"{kind.name}: {written} bytes written, {blocks.nbytes} expected"
    return blocks


def copy_metadata(source: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """All keys of the source but those that say what this file is."""
    ours = {*METADATA, "general.architecture", "general.file_type", "general.alignment"}
    for key, field in source.fields.items():
        if key in ours or key.startswith("GGUF."):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)


def describe(writer: gguf.GGUFWriter) -> None:
    """What this file is, how it is laid out, and on what terms."""
    writer.add_custom_alignment(ALIGNMENT_BYTES)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q3_K_M)
    for key, value in METADATA.items():
        writer.add_string(key, value)


def add_tensor(tensor: gguf.ReaderTensor, model: Family, writer: gguf.GGUFWriter) -> None:
    """One tensor in its chosen type."""
    kind = chosen_type(tensor, model)
    if kind == tensor.tensor_type:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=kind)
        return
    weights = np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
    writer.add_tensor(tensor.name, quantise(weights, kind), raw_dtype=kind)


def make(source_path: Path, output_path: Path) -> None:
    """Write the demo model; the source is a GGUF in BF16 or F32."""
    source = gguf.GGUFReader(source_path)
    architecture = source.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(output_path, architecture)
    describe(writer)
    copy_metadata(source, writer)
    for tensor in source.tensors:
        add_tensor(tensor, family(architecture), writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Read the two paths and make the file."""
    parser = argparse.ArgumentParser(description="Quantise the trained demo model for the package.")
    parser.add_argument("source", type=Path, help="the trained model as GGUF in BF16 or F32")
    parser.add_argument("output", type=Path, help="where the demo model goes")
    paths = parser.parse_args()
    make(paths.source, paths.output)
    print(f"{paths.output}: {format_bytes(paths.output.stat().st_size)}")


if __name__ == "__main__":
    main()
