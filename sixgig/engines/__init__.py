"""Engine processes: each loaded model in a child of its own, all of them within one budget."""

from sixgig.engines.card import ModelCard, ModelSpec, model_card
from sixgig.engines.client import BrokenConnectionError, EngineReply
from sixgig.engines.fleet import Budget, Fleet
from sixgig.engines.process import EngineProcess
from sixgig.engines.seated import Seated
from sixgig.engines.sockets import socket_folder

__all__ = [
    "BrokenConnectionError",
    "Budget",
    "EngineProcess",
    "EngineReply",
    "Fleet",
    "ModelCard",
    "ModelSpec",
    "Seated",
    "model_card",
    "socket_folder",
]
