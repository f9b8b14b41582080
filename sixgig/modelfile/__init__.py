"""Facts about model files: GGUF headers, split sets, tensors, and where to fetch them from."""

from sixgig.modelfile.attention_shape import AttentionShape, Latent, Recurrent
from sixgig.modelfile.ggml_types import TYPE_BY_ID, TYPE_BY_NAME, GgmlType
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.hub import resolve
from sixgig.modelfile.hyperparameters import Hyperparameters
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.metadata import Metadata
from sixgig.modelfile.model import ModelFile, open_model, open_sources
from sixgig.modelfile.offers import Offer, OpenedOffer, offers, open_all
from sixgig.modelfile.source import ByteSource, Fingerprint, LocalFile, fingerprint, local_file
from sixgig.modelfile.tensor import Tensor
from sixgig.modelfile.virtual import ZEROS, Segment, VirtualFile, virtual_file
from sixgig.modelfile.weights import dequantise, read_tensor

__all__ = [
    "TYPE_BY_ID",
    "TYPE_BY_NAME",
    "ZEROS",
    "AttentionShape",
    "ByteSource",
    "Fingerprint",
    "GgmlType",
    "Header",
    "Hyperparameters",
    "KnownArrays",
    "Latent",
    "LocalFile",
    "Metadata",
    "ModelFile",
    "Offer",
    "OpenedOffer",
    "Recurrent",
    "Segment",
    "Tensor",
    "VirtualFile",
    "dequantise",
    "fingerprint",
    "local_file",
    "offers",
    "open_all",
    "open_model",
    "open_sources",
    "read_header",
    "read_tensor",
    "resolve",
    "virtual_file",
]
