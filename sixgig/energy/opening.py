"""Which meter this machine gets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sixgig.energy.meter import Meter
from sixgig.energy.rapl import open_rapl
from sixgig.energy.wall import WallMeter
from sixgig.energy.zeus import NOT_INSTALLED, open_zeus
from sixgig.errors import UsageError
from sixgig.hardware.machine import Absent

MeterKind = Literal["auto", "zeus", "rapl", "wall", "none"]

_INSTALL = 'pip install "sixgig[energy]"'
_CONSTANTS = "set wall_idle_watts and wall_busy_watts"
_WALL_CURE = f"{_CONSTANTS} to what a wall plug shows at rest and under load"
_CURE = f'make a counter readable, or choose meter = "wall" and {_CONSTANTS}'


def open_meter(
    kind: MeterKind = "auto",
    wall_idle_watts: float | None = None,
    wall_busy_watts: float | None = None,
    root: Path = Path("/"),
) -> Meter | Absent:
    """The meter asked for. "auto": Zeus where it reads anything, else RAPL, else the wall constants, else
    Absent naming the cure. May block for a second.

    Raises UsageError when a kind asked for by name cannot work, and for wall constants that make no sense.
    """
    if kind == "none":
        return Absent("switched off in the configuration")
    wall = _wall(wall_idle_watts, wall_busy_watts)
    match kind:
        case "wall":
            return _demanded(kind, wall, _WALL_CURE)
        case "rapl":
            return _demanded(kind, open_rapl(root), _CURE)
        case "zeus":
            zeus = open_zeus()
            return _demanded(kind, zeus, _INSTALL if zeus is NOT_INSTALLED else _CURE)
    return _first(root, wall)


def _first(root: Path, wall: WallMeter | Absent) -> Meter | Absent:
    zeus = open_zeus()
    if not isinstance(zeus, Absent):
        return zeus
    rapl = open_rapl(root)
    if not isinstance(rapl, Absent):
        return rapl
    if not isinstance(wall, Absent):
        return wall
    cure = f"{_INSTALL}, or {_CONSTANTS}" if zeus is NOT_INSTALLED else _CONSTANTS
    return Absent(f"no energy counter reads; {zeus.reason}; RAPL: {rapl.reason}; {cure} in the configuration")


def _demanded(kind: MeterKind, meter: Meter | Absent, cure: str) -> Meter:
    if isinstance(meter, Absent):
        raise UsageError(f'meter = "{kind}" cannot work here', meter.reason, cure)
    return meter


def _wall(idle_watts: float | None, busy_watts: float | None) -> WallMeter | Absent:
    if idle_watts is None and busy_watts is None:
        return Absent("no wall constants are given")
    if idle_watts is None or busy_watts is None:
        raise UsageError("only one of the two wall constants is given", cure=_WALL_CURE)
    if not 0 <= idle_watts <= busy_watts < float("inf"):
        numbers = f"wall_idle_watts = {idle_watts}, wall_busy_watts = {busy_watts}"
        raise UsageError("wall constants must rise from idle to busy", numbers, _WALL_CURE)
    return WallMeter(idle_watts, busy_watts)
