"""A Hugging Face folder, streamed into one GGUF."""

from sixgig.checkpoint.conversion import convert, is_checkpoint

__all__ = ["convert", "is_checkpoint"]
