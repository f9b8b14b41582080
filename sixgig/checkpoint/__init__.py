"""A Hugging Face folder, streamed into one GGUF."""

from sixgig.checkpoint.content import checkpoint_digest
from sixgig.checkpoint.conversion import convert
from sixgig.modelfile.checkpoint_folder import is_checkpoint

__all__ = ["checkpoint_digest", "convert", "is_checkpoint"]
