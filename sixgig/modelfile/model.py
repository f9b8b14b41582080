"""A model as its files describe it, checked before any engine sees it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sixgig.errors import ModelFileError
from sixgig.families import Family, Role, family
from sixgig.modelfile.attention_shape import AttentionShape, read_attention_shape
from sixgig.modelfile.experts import check_experts
from sixgig.modelfile.header import Header
from sixgig.modelfile.hyperparameters import Hyperparameters, read_hyperparameters
from sixgig.modelfile.known import KnownArrays
from sixgig.modelfile.metadata import Metadata
from sixgig.modelfile.names import model_name
from sixgig.modelfile.source import ByteSource, Fingerprint, LocalFile
from sixgig.modelfile.splits import read_headers, read_set
from sixgig.modelfile.tensor import Tensor

MAX_NAME, MAX_ARCHITECTURE = 200, 64  # characters; every line that is said of a model has them


@dataclass(frozen=True)
class ModelFile:
    """One GGUF model in one or several files. `metadata` is that of the first part.

    A model whose headers alone were fetched can be planned, not run: `parts` and `fingerprints` raise
    ModelFileError unless `is_local`.
    """

    headers: tuple[Header, ...]
    metadata: Metadata
    tensors: tuple[Tensor, ...]
    family: Family
    hyperparameters: Hyperparameters
    declared_shape: AttentionShape | None

    @property
    def is_local(self) -> bool:
        """Whether the files lie on this machine."""
        return all(isinstance(header.source, LocalFile) for header in self.headers)

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(_local(header.source).path for header in self.headers)

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What each file looked like when its header was read."""
        return tuple(_local(header.source).fingerprint for header in self.headers)

    @property
    def alignment(self) -> int:
        """Bytes that tensor offsets are padded to."""
        return self.headers[0].alignment

    @property
    def architecture(self) -> str:
        """The architecture as GGUF names it."""
        return self.family.architecture

    @property
    def attention(self) -> AttentionShape:
        """What its layers remember, by the keys that a declared family is known to heed.

        ModelFileError for an architecture without a declaration: keys alone do not tell what an engine does.
        """
        if self.declared_shape is None:
            what = f"what {self.name} takes cannot be told from its header"
            numbers = f"sixgig has no declaration of {self.architecture[:40]!r}: the engine alone knows"
            cure = "fetch the file; without --vram and --no-dry-load the engine is asked"
            raise ModelFileError(what, numbers, cure)
        return self.declared_shape

    @property
    def name(self) -> str:
        """general.name in one line, cut where nobody would read on; or the file's name without its ending."""
        words = " ".join((self.metadata.text("general.name") or "").split())
        if len(words) > MAX_NAME:
            words = f"{words[:MAX_NAME]}..."
        return words or model_name(self.headers[0].source.name)

    @property
    def n_layers(self) -> int:
        """Layers, those for multi-token prediction included."""
        return self.hyperparameters.n_layers

    @property
    def n_embd(self) -> int:
        """Width of the hidden state."""
        return self.hyperparameters.n_embd

    @property
    def context_length(self) -> int:
        """Tokens the model was trained for."""
        return self.hyperparameters.context_length

    @property
    def n_experts(self) -> int:
        """Routed experts in a layer; 0 for a dense model."""
        return self.hyperparameters.n_experts

    @property
    def n_experts_used(self) -> int:
        """Routed experts a token uses in a layer (the most, where layers differ)."""
        return self.hyperparameters.n_experts_used

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self.metadata.count("tokenizer.ggml.tokens")

    @property
    def chat_template(self) -> str | None:
        """The model's own Jinja template, None when it has none."""
        return self.metadata.text("tokenizer.chat_template")

    @property
    def bos_id(self) -> int | None:
        """Token that begins a text."""
        return self.metadata.integer("tokenizer.ggml.bos_token_id")

    @property
    def eos_id(self) -> int | None:
        """Token that ends a text."""
        return self.metadata.integer("tokenizer.ggml.eos_token_id")

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(header.source.size_bytes for header in self.headers)

    @cached_property
    def routed_bytes(self) -> int:
        """Bytes of all routed experts."""
        return sum(tensor.size_bytes for tensor in self.routed_experts())

    @cached_property
    def dense_bytes(self) -> int:
        """Bytes of all other tensors."""
        return sum(tensor.size_bytes for tensor in self.tensors) - self.routed_bytes

    def routed_experts(self) -> tuple[Tensor, ...]:
        """The tensors that hold one layer's experts each, (ne0, ne1, n_experts)."""
        return tuple(tensor for tensor in self.tensors if tensor.role is Role.ROUTED_EXPERT)

    def expert_bytes(self, layer: int) -> int:
        """Bytes of one expert of a layer, all its tensors together; 0 for a dense layer."""
        sizes = (tensor.size_bytes for tensor in self.routed_experts() if tensor.layer == layer)
        return sum(sizes) // max(self.n_experts, 1)


def open_model(path: Path) -> ModelFile:
    """The model at `path` (of a split set, any part); ModelFileError says what is wrong and what to do."""
    return _checked(read_headers(Path(path)))


def open_sources(sources: Sequence[ByteSource], known: KnownArrays | None = None) -> ModelFile:
    """The model whose parts are `sources`, all in order, for planning only; ModelFileError as open_model."""
    return _checked(read_set(sources, known or KnownArrays()))


def _checked(headers: tuple[Header, ...]) -> ModelFile:
    metadata = headers[0].metadata
    declared = family(_architecture(metadata))
    numbers = read_hyperparameters(metadata, declared)
    shape = read_attention_shape(metadata, declared, numbers) if declared.declared else None
    model = ModelFile(headers, metadata, _tensors(headers, declared), declared, numbers, shape)
    _check_tensors(model)
    check_experts(model.tensors, numbers.n_experts)
    return model


def _local(source: ByteSource) -> LocalFile:
    if not isinstance(source, LocalFile):
        what = f"{source.name} is not on this machine: only its header was read"
        raise ModelFileError(what, cure="fetch the model first: sixgig run hf:owner/repo:QUANT")
    return source


def _architecture(metadata: Metadata) -> str:
    kind = metadata.text("general.type")
    if kind not in (None, "model"):
        raise ModelFileError(
            f"{metadata.source.name} is no model", f"general.type is {kind[:40]!r}", "name a model's file"
        )
    architecture = metadata.text("general.architecture")
    if architecture is None:
        raise ModelFileError(f"{metadata.source.name} names no architecture", cure="name a model's file")
    if len(architecture) > MAX_ARCHITECTURE:
        numbers = f"general.architecture has {len(architecture)} characters, {MAX_ARCHITECTURE} at most"
        raise ModelFileError(f"{metadata.source.name} names no architecture", numbers, "name a model's file")
    return architecture


def _tensors(headers: Iterable[Header], declared: Family) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            info.name,
            info.shape,
            info.type,
            part,
            info.offset,
            info.size_bytes,
            *declared.classify(info.name),
        )
        for part, header in enumerate(headers)
        for info in header.tensors
    )


def _check_tensors(model: ModelFile) -> None:
    """There are tensors, none twice across parts, none in a layer that is not there."""
    if not model.tensors:
        raise ModelFileError(
            f"{model.headers[0].source.name} holds no tensors", cure="name a file with weights"
        )
    names = set[str]()
    for tensor in model.tensors:
        if tensor.name in names:
            raise ModelFileError(f"{tensor.name} is in two parts", cure="fetch all parts of one model again")
        if tensor.layer is not None and tensor.layer >= model.n_layers:
            raise ModelFileError(f"{tensor.name} is in no layer", f"the model has {model.n_layers}")
        names.add(tensor.name)
