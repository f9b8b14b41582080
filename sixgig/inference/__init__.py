"""Run a model: tokens in, text out."""

from sixgig.inference.adapters import Adapter
from sixgig.inference.chat import ChatTemplate
from sixgig.inference.chat_format import ChatFormat
from sixgig.inference.conversation import Asking, Continuation, Conversation
from sixgig.inference.dry_load import measure
from sixgig.inference.engine import Engine
from sixgig.inference.generate import Generation, TextRun, generate
from sixgig.inference.interrupt import abort_on_interrupt
from sixgig.inference.options import EngineOptions
from sixgig.inference.sampling import Sampler, SamplingOptions
from sixgig.inference.tokens import TextStream, Vocabulary
from sixgig.llamacpp.disturb import Watcher

__all__ = [
    "Adapter",
    "Asking",
    "ChatFormat",
    "ChatTemplate",
    "Continuation",
    "Conversation",
    "Engine",
    "EngineOptions",
    "Generation",
    "Sampler",
    "SamplingOptions",
    "TextRun",
    "TextStream",
    "Vocabulary",
    "Watcher",
    "abort_on_interrupt",
    "generate",
    "measure",
]
