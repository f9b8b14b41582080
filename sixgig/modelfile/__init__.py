"""Facts about model files: GGUF headers, split sets, tensors, and where to fetch them from."""

from sixgig.modelfile.ggml_types import TYPE_BY_ID, TYPE_BY_NAME, GgmlType
from sixgig.modelfile.header import Header, read_header
from sixgig.modelfile.hub import resolve
from sixgig.modelfile.hyperparameters import Hyperparameters
from sixgig.modelfile.metadata import Metadata
from sixgig.modelfile.model import ModelFile, open_model
from sixgig.modelfile.source import Fingerprint, fingerprint
from sixgig.modelfile.tensor import Tensor
from sixgig.modelfile.virtual import ZEROS, Segment, VirtualFile, virtual_file
from sixgig.modelfile.weights import dequantise, read_tensor

__all__ = [
    "TYPE_BY_ID",
    "TYPE_BY_NAME",
    "ZEROS",
    "Fingerprint",
    "GgmlType",
    "Header",
    "Hyperparameters",
    "Metadata",
    "ModelFile",
    "Segment",
    "Tensor",
    "VirtualFile",
    "dequantise",
    "fingerprint",
    "open_model",
    "read_header",
    "read_tensor",
    "resolve",
    "virtual_file",
]
