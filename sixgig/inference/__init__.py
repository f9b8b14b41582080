"""Run a model: tokens in, text out."""

from sixgig.inference.adapters import Adapter
from sixgig.inference.chat import ChatTemplate, chat_template
from sixgig.inference.conversation import Conversation
from sixgig.inference.engine import Engine
from sixgig.inference.generate import Generation, TextRun, generate
from sixgig.inference.interrupt import abort_on_interrupt
from sixgig.inference.measure import measure
from sixgig.inference.options import EngineOptions
from sixgig.inference.sampling import Sampler, SamplingOptions
from sixgig.inference.tokens import TextStream, Vocabulary
from sixgig.llamacpp.disturb import Watcher

__all__ = [
    "Adapter",
    "ChatTemplate",
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
    "chat_template",
    "generate",
    "measure",
]
