"""The gateway of a server, with all that it holds: memory planned, meter, ledger and sockets open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sixgig.energy import EnergyMonitor, open_meter
from sixgig.engines import Budget, ModelSpec, socket_folder
from sixgig.gateway.gateway import Gateway
from sixgig.grammars.checker import CHECKER_BYTES
from sixgig.hardware import process_memory, save_machine
from sixgig.hardware.memory import give_back
from sixgig.inference.memory import allowed
from sixgig.jobs.machines import gpu_machine
from sixgig.jobs.reporter import Reporter
from sixgig.jobs.served_models import model_cards, require_room
from sixgig.ledger import Ledger, default_path
from sixgig.settings import Settings

# What the gateway grows by when it is busy: bodies (server.guards), one of them read, connections. LOG.md.
GROWTH_BYTES = 96 << 20


def open_gateway(
    settings: Settings, specs: Sequence[ModelSpec], reporter: Reporter, stack: ExitStack
) -> Gateway:
    """Not running yet; stack: closes what it holds.

    Raises BudgetError, ModelFileError, LedgerError, UsageError where a meter, GPU or folder is missing.
    """
    server, energy = settings.server, settings.energy
    sockets = stack.enter_context(socket_folder())
    cards = model_cards(specs, reporter)
    give_back()
    gateway_bytes = process_memory().resident_bytes + GROWTH_BYTES + CHECKER_BYTES
    allowance = allowed(server.ram_bytes)
    if allowance.remark:
        reporter.warn(allowance.remark)
    vram_bytes = server.vram_bytes or 0
    machine = _machine_file(sockets, specs[0].path.parent) if vram_bytes else None
    budget = Budget(allowance.ram_bytes - gateway_bytes, vram_bytes, machine)
    with allowance.explaining():
        require_room(cards, budget.ram_bytes, allowance.ram_bytes, reporter)
    meter = open_meter(energy.meter, energy.wall_idle_watts, energy.wall_busy_watts)
    return Gateway(
        settings,
        cards,
        budget,
        sockets,
        stack.enter_context(Ledger.open(settings.ledger.path or default_path())),
        EnergyMonitor(meter),
        threads=server.threads or 0,
        gateway_bytes=gateway_bytes,
    )


def _machine_file(folder: Path, models: Path) -> Path:
    """What describes this machine's GPUs."""
    path = folder / "machine.json"
    save_machine(gpu_machine(models), path)
    return path
