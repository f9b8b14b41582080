"""From the options of `sixgig serve` to a running server."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn
from pydantic import ValidationError

from sixgig.cli.served_models import model_cards, model_specs, require_room
from sixgig.cli.terminal import is_quiet, say, warn
from sixgig.energy import EnergyMonitor, open_meter
from sixgig.engines import Budget, ModelSpec, model_card, socket_folder
from sixgig.errors import UsageError
from sixgig.gateway import logs
from sixgig.gateway.gateway import Gateway
from sixgig.grammars.checker import CHECKER_BYTES
from sixgig.hardware import process_memory
from sixgig.hardware.memory import give_back
from sixgig.inference.memory import allowed
from sixgig.ledger import Ledger, default_path
from sixgig.modelfile.listing import is_reference
from sixgig.server.app import make_app
from sixgig.server.connections import (
    ACCEPTED_AT_ONCE,
    Connections,
    connections_within,
    raise_descriptor_limit,
    watch_clients,
)
from sixgig.server.keys import new_key
from sixgig.settings import (
    KeySettings,
    ServerSettings,
    Settings,
    check_exposure,
    load_settings,
)
from sixgig.units import format_bytes

MIB = 1 << 20
# What the gateway grows by when it is busy: bodies (server.guards), one of them read, connections. LOG.md.
GROWTH_BYTES = 96 * MIB
DRAIN_S = 60
_BACKLOG = 1024


@dataclass(frozen=True)
class Serving:
    """What to serve, and how. config, named, options: as typed, for a unit that starts the same again."""

    settings: Settings
    specs: tuple[ModelSpec, ...]
    config: str | None
    named: tuple[str, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, models: Sequence[str], config: str | None, options: Mapping[str, Any]) -> Serving:
        """Read the file, let options win, find the models. Raises UsageError, and as finding a model does."""
        settings = Settings() if config is None else load_settings(Path(config))
        given = {name: value for name, value in options.items() if value is not None}
        settings = _overridden(settings, given)
        check_exposure(settings)
        return cls(settings, model_specs(models, settings), config, tuple(models), given)

    def run(self) -> None:
        """Serve until told to stop; then let what runs finish."""
        server = self.settings.server
        listener = _listen(server.host, server.port)
        watch_clients(listener, self.settings.timeouts.write_s)
        logs.start(log_prompts=server.log_prompts, level=logging.WARNING if is_quiet() else logging.INFO)
        with contextlib.ExitStack() as stack:
            stack.callback(listener.close)
            sockets = stack.enter_context(socket_folder())
            gateway = self._gateway(sockets, stack)
            _announce(listener, gateway)
            bound = connections_within(raise_descriptor_limit(), len(self.specs), server.connections)
            connections = Connections(bound, self.settings.timeouts)
            process = _Server(_uvicorn(make_app(gateway), connections, server.trusted_proxies))
            gc.freeze()  # what is here stays, and need not be looked through while everybody waits
            process.run(sockets=[listener])

    def print_systemd(self) -> None:
        """The unit, on stdout."""
        from sixgig.cli.serve_unit import systemd_unit

        print(systemd_unit(self._arguments(), self.settings.server.ram_bytes, DRAIN_S), end="")

    def print_vllm(self) -> None:
        """Command, compose file and upstream, on stdout."""
        from sixgig.cli.serve_vllm import vllm_setup

        if len(self.specs) != 1:
            raise UsageError("vLLM serves one model", f"{len(self.specs)} are named", "name one MODEL")
        card = model_card(self.specs[0])
        print(vllm_setup(self.specs[0].path, card.name, card.context, card.spec.sequences), end="")

    def _arguments(self) -> list[str]:
        options = [(f"--{name.replace('_', '-')}", str(value)) for name, value in self.options.items()]
        config = [] if self.config is None else ["--config", str(Path(self.config).absolute())]
        named = [name if is_reference(name) else str(Path(name).absolute()) for name in self.named]
        return [*named, *config, *(word for option in options for word in option)]

    def _gateway(self, sockets: Path, stack: contextlib.ExitStack) -> Gateway:
        server, energy = self.settings.server, self.settings.energy
        cards = model_cards(self.specs)
        give_back()
        own_bytes = process_memory().resident_bytes
        gateway_bytes = own_bytes + GROWTH_BYTES + CHECKER_BYTES
        allowance = allowed(server.ram_bytes)
        if allowance.remark:
            warn(allowance.remark)
        total_bytes = allowance.ram_bytes
        budget = Budget(total_bytes - gateway_bytes, server.vram_bytes or 0, self._machine(sockets))
        with allowance.explaining():
            require_room(cards, budget.ram_bytes, total_bytes)
        meter = open_meter(energy.meter, energy.wall_idle_watts, energy.wall_busy_watts)
        return Gateway(
            self.settings,
            cards,
            budget,
            sockets,
            stack.enter_context(Ledger.open(self.settings.ledger.path or default_path())),
            EnergyMonitor(meter),
            threads=server.threads or 0,
            gateway_bytes=gateway_bytes,
        )

    def _machine(self, folder: Path) -> Path | None:
        """A file that describes this machine's GPUs, where one is to be used."""
        if not self.settings.server.vram_bytes:
            return None
        from sixgig.hardware import save_machine
        from sixgig.jobs.machines import gpu_machine

        path = folder / "machine.json"
        save_machine(gpu_machine(self.specs[0].path.parent), path)
        return path


def print_key(name: str) -> None:
    """A new key: the secret for its user, the digest for the configuration."""
    secret, digest = new_key()
    try:
        KeySettings(name=name, sha256=digest)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"a key cannot be called {name[:60]!a}", why) from error
    warn("Give this key to its user; it is not kept anywhere:\n")
    print(secret)
    warn("\nand put this into the configuration:\n")
    warn(f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"')


class _Server(uvicorn.Server):
    """Ends with status 0 when it is told to stop, at once when it is told twice.

    uvicorn itself would be killed by the signal once more, heeds only a second Ctrl-C, and would then leave
    the application as it is.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and a terminal that goes away let what runs finish; a second one ends at once.

        Under nohup a terminal may go away.
        """
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first lets requests finish, the second does not."""
        self.force_exit = self.force_exit or self.should_exit
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepting takes as many connections at once as it lets wait: few, but many may wait."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Engines end and the books are closed in either case."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def _uvicorn(app: Any, connections: Connections, trusted_proxies: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("Any", connections.protocol),
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),  # else uvicorn believes whatever comes from this machine
        forwarded_allow_ips=list(trusted_proxies),
        timeout_graceful_shutdown=DRAIN_S,
        lifespan="on",
        loop="asyncio",  # these two are what is tested, whatever else is installed
        ws="none",
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, for else asyncio leaves Nagle's algorithm on: 40 ms an answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        return listener
    except OSError as error:
        listener.close()
        cure = "choose another --port, or see what listens there"
        raise UsageError(
            f"cannot listen on {host} port {port}", error.strerror or str(error), cure
        ) from error


def _announce(listener: socket.socket, gateway: Gateway) -> None:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    names = ", ".join(gateway.fleet.models)
    room = format_bytes(gateway.fleet.budget.ram_bytes)
    say(f"sixgig serves {names} at http://{shown}:{port}")
    say(f"{room} for models, loaded when asked for; APIs: OpenAI and Anthropic /v1, Ollama /api; Ctrl-C ends")


def _overridden(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The file's settings with what was typed instead. Raises UsageError for a value that cannot be."""
    written = settings.server.model_dump(by_alias=True, exclude_unset=True)
    try:
        server = ServerSettings.model_validate({**written, **given})
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("_", "-")
        what = f"--{option} of {given.get(str(fault['loc'][0]))} is not possible"
        raise UsageError(what, fault["msg"].removeprefix("Value error, ")) from error
    return settings.model_copy(update={"server": server})
