"""Joules: which meter there is, and whose they were. Meters touch the system, the accounts are pure."""

from sixgig.energy.accounts import EMPTY, Accounts, Interval
from sixgig.energy.cost import micro_units
from sixgig.energy.meter import AbsentMeter, Meter, Reading
from sixgig.energy.monitor import Energy, EnergyMonitor, EnergyState
from sixgig.energy.opening import MeterKind, open_meter
from sixgig.energy.rapl import RaplMeter
from sixgig.energy.replay import ReplayMeter
from sixgig.energy.wall import WallMeter
from sixgig.energy.zeus import ZeusMeter

__all__ = [
    "EMPTY",
    "AbsentMeter",
    "Accounts",
    "Energy",
    "EnergyMonitor",
    "EnergyState",
    "Interval",
    "Meter",
    "MeterKind",
    "RaplMeter",
    "Reading",
    "ReplayMeter",
    "WallMeter",
    "ZeusMeter",
    "micro_units",
    "open_meter",
]
