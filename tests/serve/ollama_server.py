"""A gateway on a free port of this machine with the endpoints under test, in a thread of its own."""

import contextlib
import dataclasses
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

import sixgig
from sixgig.energy import EnergyMonitor
from sixgig.engines import Budget, ModelSpec, model_card
from sixgig.gateway.gateway import Gateway
from sixgig.hardware.machine import Absent
from sixgig.ledger import Ledger
from sixgig.modelfile import open_model
from sixgig.modelfile.writer import NewTensor, lay_out
from sixgig.server.ollama import ollama_routes
from sixgig.server.ollama_backend import Backend
from sixgig.settings import Settings

DEMO = Path(sixgig.__file__).parent / "demo" / "pep-moe-31m.gguf"
ROOM = 300 << 20


def rewritten(path, changes, n_layers=None):
    """The demo model with other pairs in its header; None leaves one out. n_layers: only so many."""
    model = open_model(DEMO)
    kept = [tensor for tensor in model.tensors if (tensor.layer or 0) < (n_layers or model.n_layers)]
    layout = lay_out(model.metadata, changes, [NewTensor(t.name, t.shape, t.type) for t in kept])
    with DEMO.open("rb") as source, path.open("wb") as target:
        target.write(layout.header)
        for tensor, offset in zip(kept, layout.offsets, strict=True):
            source.seek(tensor.offset)
            target.seek(offset)
            target.write(source.read(tensor.size_bytes))
        target.truncate(layout.size_bytes)
    return path


def roomy_card(name, path=DEMO, **spec):
    """A model that is granted more than it needs."""
    card = model_card(ModelSpec(name, path, sequences=2, **spec))
    return dataclasses.replace(card, whole_bytes=ROOM, paged_bytes=None)


class Serving(uvicorn.Server):
    """started_event: it listens."""

    def __init__(self, config):
        super().__init__(config)
        self.started_event = threading.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.started_event.set()


@contextlib.contextmanager
def ollama_server(*cards, settings=None, upstreams=None):
    """(URL, gateway), until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="sixgig-"))
    gateway = Gateway(
        settings or Settings(),
        cards,
        Budget(len(cards) * ROOM),
        folder,
        Ledger.open(folder / "ledger.db"),
        EnergyMonitor(Absent("none in a test")),
        threads=2,
        upstreams=upstreams,
    )
    backend = Backend(gateway.exchange, gateway.fleet, gateway.names)
    routes = ollama_routes(backend, gateway.settings.timeouts.heartbeat_s)
    app = Starlette(routes=routes, lifespan=lambda _app: gateway.running())
    listening = socket.create_server(("127.0.0.1", 0))
    server = Serving(uvicorn.Config(app, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert server.started_event.wait(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", gateway
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        shutil.rmtree(folder, ignore_errors=True)
