"""The configuration of a server: a TOML file, checked field by field, each fault told by its place."""

from sixgig.settings.durations import FOREVER, parse_duration
from sixgig.settings.sections import (
    EnergySettings,
    KeySettings,
    LedgerSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    TimeoutSettings,
    check_exposure,
    load_settings,
    require_aliases_lead_somewhere,
)

__all__ = [
    "FOREVER",
    "EnergySettings",
    "KeySettings",
    "LedgerSettings",
    "ModelSettings",
    "ServerSettings",
    "Settings",
    "TimeoutSettings",
    "check_exposure",
    "load_settings",
    "parse_duration",
    "require_aliases_lead_somewhere",
]
