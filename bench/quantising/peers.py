"""The peers of a shrunk model, by name: which type each tensor gets, and how large that file would be.

A name is a mixture of llama-quantize ("Q4_K_M"), one type for all ("uniform:Q4_K"), or one type for the
routed experts with Q6_K for the other weights ("routed:IQ3_S"). What llama-quantize leaves alone stays as it
is in the model, and its fallbacks apply where rows are no whole number of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.quantising.mixtures import MIXTURES, fitting, is_quantisable, mixture
from sixgig.errors import UsageError
from sixgig.families import Role
from sixgig.modelfile import TYPE_BY_NAME, ModelFile
from sixgig.modelfile.writer import NewTensor, lay_out

REST_OF_ROUTED = "Q6_K"
DEFAULT_ALIGNMENT = 32  # llama-quantize's, and GGUF's


def peer_types(model: ModelFile, peer: str) -> dict[str, str]:
    """Type by tensor name, in file order; UsageError for a name that is no peer."""
    if peer in MIXTURES:
        return mixture(peer, model)
    rule, _, kind = peer.partition(":")
    if rule not in ("uniform", "routed") or kind not in TYPE_BY_NAME:
        known = f"{', '.join(MIXTURES)}, uniform:TYPE, routed:TYPE"
        raise UsageError(f"{peer!r} is no peer", cure=f"name one of {known}")
    rest = kind if rule == "uniform" else REST_OF_ROUTED
    return {
        tensor.name: fitting(kind if tensor.role is Role.ROUTED_EXPERT else rest, tensor)
        if is_quantisable(tensor)
        else tensor.type.name
        for tensor in model.tensors
    }


def file_bytes(model: ModelFile, types: Mapping[str, str], alignment: int = DEFAULT_ALIGNMENT) -> int:
    """Bytes of one file with these types, each tensor padded to `alignment`.

    The tensors' bytes are exact. The header is the model's own plus general.alignment: a tool that adds pairs
    (llama-quantize: where its importance matrix is from) differs by those, some hundred bytes.
    """
    tensors = [NewTensor(each.name, each.shape, TYPE_BY_NAME[types[each.name]]) for each in model.tensors]
    return lay_out(model.metadata, {}, tensors, alignment).size_bytes
