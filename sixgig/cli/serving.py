"""From the options of `sixgig serve` to a running server."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from pydantic import ValidationError

from sixgig.cli.opening import DEMO_MODEL, demo_path
from sixgig.cli.terminal import say
from sixgig.energy import EnergyMonitor, open_meter
from sixgig.engines import Budget, ModelCard, ModelSpec, model_card
from sixgig.errors import BudgetError, SixgigError, UsageError
from sixgig.gateway import logs
from sixgig.gateway.gateway import Gateway
from sixgig.hardware import available_bytes, process_memory, this_processor
from sixgig.hardware.memory import give_back
from sixgig.ledger import Ledger, default_path
from sixgig.modelfile import offers, resolve
from sixgig.plan import default_budget
from sixgig.server.app import make_app
from sixgig.server.keys import new_key
from sixgig.settings.sections import (
    KeySettings,
    ModelSettings,
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
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Serving:
    """What to serve, and how. arguments: as typed, for a unit that starts the same again."""

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
        specs = (*_configured(settings), *_named(models, settings))
        if not specs:
            say(f"no model named: serving the demo model {DEMO_MODEL}, which knows Python's PEPs and no more")
            specs = (_spec("demo", ModelSettings(path=str(demo_path())), settings),)
        return cls(settings, _distinct(specs), config, tuple(models), given)

    def run(self) -> None:
        """Serve until told to stop; then let what runs finish."""
        server = self.settings.server
        listener = _listen(server.host, server.port)
        logs.start(log_prompts=server.log_prompts)
        with contextlib.ExitStack() as stack:
            stack.callback(listener.close)
            sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sixgig-")))
            gateway = self._gateway(sockets, stack)
            _announce(listener, gateway)
            _Server(_uvicorn(make_app(gateway))).run(sockets=[listener])

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
        named = [name if name.startswith("hf:") else str(Path(name).absolute()) for name in self.named]
        return [*named, *config, *(word for option in options for word in option)]

    def _gateway(self, sockets: Path, stack: contextlib.ExitStack) -> Gateway:
        server, energy = self.settings.server, self.settings.energy
        cards = _cards(self.specs)
        give_back()
        own_bytes = process_memory().resident_bytes
        total_bytes = server.ram_bytes or default_budget(available_bytes(), own_bytes)
        budget = Budget(
            total_bytes - own_bytes - GROWTH_BYTES, server.vram_bytes or 0, self._machine(sockets)
        )
        _require_room(cards, budget.ram_bytes, total_bytes)
        meter = open_meter(energy.meter, energy.wall_idle_watts, energy.wall_busy_watts)
        return Gateway(
            self.settings,
            cards,
            budget,
            sockets,
            stack.enter_context(Ledger.open(self.settings.ledger.path or default_path())),
            EnergyMonitor(meter),
            threads=server.threads or this_processor().cores,
            gateway_bytes=own_bytes + GROWTH_BYTES,
        )

    def _machine(self, folder: Path) -> Path | None:
        """A file that describes this machine's GPUs, where one is to be used."""
        if not self.settings.server.vram_bytes:
            return None
        from sixgig.cli.machines import gpu_machine
        from sixgig.hardware import save_machine

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
    say("Give this key to its user; it is not kept anywhere:\n")
    print(secret)
    say("\nand put this into the configuration:\n")
    say(f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"')


class _Server(uvicorn.Server):
    """Ends with status 0 when it is told to stop, at once when it is told twice.

    uvicorn itself would be killed by the signal once more, heeds only a second Ctrl-C, and would then leave
    the application as it is.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT let what runs finish; a second one ends at once."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first lets requests finish, the second does not."""
        self.force_exit = self.force_exit or self.should_exit
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Engines end and the books are closed in either case."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()


def _uvicorn(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=75,
        lifespan="on",
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


def _configured(settings: Settings) -> Iterator[ModelSpec]:
    for name, model in settings.models.items():
        yield _spec(name, model, settings)


def _named(models: Sequence[str], settings: Settings) -> Iterator[ModelSpec]:
    """Those of the command line, by the names of their files."""
    for named in models:
        if named.startswith("hf:"):
            yield _spec(
                _fit(named.removeprefix("hf:").rpartition("/")[2]), ModelSettings(path=named), settings
            )
            continue
        for offer in offers(named):
            assert isinstance(offer.location, Path)
            yield _spec(_fit(offer.name), ModelSettings(path=str(offer.location)), settings)


def _spec(name: str, model: ModelSettings, settings: Settings) -> ModelSpec:
    return ModelSpec(
        name=name,
        path=resolve(model.path),
        context=model.context or settings.server.context,
        sequences=model.parallel or settings.server.parallel,
        ram_bytes=model.ram_bytes,
        pooling=model.pooling,
        adapter=model.adapter,
        keep_alive_s=model.keep_alive_s,
    )


def _fit(name: str) -> str:
    """A name that clients can type: a file's, without what no name may hold."""
    return _UNFIT.sub("-", name).strip("-.") or "model"


def _distinct(specs: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    names = [spec.name for spec in specs]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        cure = "give them names of their own in a --config file"
        raise UsageError(f"two models would both be called {twins[0]}", f"{len(names)} models", cure)
    return tuple(specs)


def _cards(specs: Sequence[ModelSpec]) -> list[ModelCard]:
    """By their headers. Of several models one that cannot be opened is left out, aloud."""
    cards = []
    for spec in specs:
        try:
            cards.append(model_card(spec))
        except SixgigError as error:
            if len(specs) == 1:
                raise
            say(f"left out: {error}")
    if not cards:
        raise UsageError("none of the models can be opened", f"{len(specs)} tried", "see above")
    return cards


def _require_room(cards: Sequence[ModelCard], room_bytes: int, total_bytes: int) -> None:
    """BudgetError where not even the smallest model fits; a word about each other that does not."""

    def least(card: ModelCard) -> int:
        return min(card.whole_bytes, card.paged_bytes or card.whole_bytes)

    for card in cards:
        if least(card) > room_bytes and len(cards) > 1:
            say(f"{card.name} does not fit: about {format_bytes(least(card))} needed")
    smallest = min(cards, key=least)
    if least(smallest) > room_bytes:
        own = total_bytes - room_bytes
        numbers = f"{format_bytes(least(smallest) + own)} needed, {format_bytes(own)} of it for the server"
        what = f"{smallest.name} does not fit in {format_bytes(total_bytes)} of memory"
        raise BudgetError(what, numbers, f"try --ram {-(-(least(smallest) + own) // MIB)}M")
