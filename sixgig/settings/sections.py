"""What the owner wrote down: a TOML file, checked field by field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sixgig.energy import MeterKind
from sixgig.errors import UsageError
from sixgig.router import Rule, Spending, Upstream
from sixgig.router.routing import Routing
from sixgig.router.spending import Amount
from sixgig.settings.complaints import Names, complaints
from sixgig.settings.fields import (
    Alias,
    AllowedHost,
    AllowedOrigin,
    Count,
    Currency,
    Digest,
    DurationS,
    FilePath,
    Host,
    Label,
    ModelName,
    ModelPath,
    Proxy,
    Sequences,
    SizeBytes,
    VramBytes,
    Watts,
)
from sixgig.settings.origins import ANY, Authority
from sixgig.settings.toml import read_toml


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class ServerSettings(_Section):
    """`[server]`. In the file sizes and durations go without their unit's name: ram, max_body, keep_alive.

    queue: requests that may wait, over all models. connections: of clients, fewer where open files are
    limited. parallel: sequences of each model. keep_alive_s: how long a model stays when nobody asks; below
    zero, for ever. None: what the machine, or the model, has. allowed_hosts, allowed_origins: besides this
    machine's own names and the server's own pages; "*" for any. trusted_proxies: whose X-Forwarded-For and
    X-Forwarded-Proto are believed; nobody's by default.
    """

    host: Host = "127.0.0.1"
    port: int = Field(default=8333, ge=0, le=65535)
    keep_alive_s: DurationS = Field(default=300.0, alias="keep_alive")
    queue: int = Field(default=64, ge=0, le=100_000)
    parallel: Sequences = 4
    connections: Count = 1024
    context: Count | None = None
    ram_bytes: SizeBytes | None = Field(default=None, alias="ram")
    vram_bytes: VramBytes | None = Field(default=None, alias="vram")
    threads: Count | None = None
    max_body_bytes: SizeBytes = Field(default=4 << 20, alias="max_body")
    private_by_default: bool = False
    log_prompts: bool = False
    allowed_hosts: tuple[AllowedHost, ...] = Field(default=(), strict=False)
    allowed_origins: tuple[AllowedOrigin, ...] = Field(default=(), strict=False)
    trusted_proxies: tuple[Proxy, ...] = Field(default=(), strict=False)


class TimeoutSettings(_Section):
    """`[timeouts]`, durations without their unit's name in the file; below zero, none.

    headers_s: for a request's headers; body_s: for its body, silence_s: without a byte of it. idle_s: between
    requests. write_s: without the client reading. first_byte_s: until an answer's first byte, or all of one
    that is no stream. heartbeat_s: of a stream's silence, then filled with comments.
    """

    headers_s: DurationS = Field(default=30.0, alias="headers")
    body_s: DurationS = Field(default=300.0, alias="body")
    silence_s: DurationS = Field(default=30.0, alias="silence")
    idle_s: DurationS = Field(default=75.0, alias="idle")
    write_s: DurationS = Field(default=60.0, alias="write")
    first_byte_s: DurationS = Field(default=3600.0, alias="first_byte")
    heartbeat_s: DurationS = Field(default=10.0, alias="heartbeat")


class KeySettings(_Section):
    """`[[keys]]`. sha256: of the secret, in hex; private: what comes with it never leaves this machine.

    group: keys of one group may find each other's prompts in a model's cache; None: this key's are its own.
    """

    name: Label
    sha256: Digest
    private: bool = False
    group: Label | None = None


class ModelSettings(_Section):
    """`[models.NAME]`. path: absolute, or hf:owner/repo[:quant], for `sixgig.modelfile.resolve`.

    None: as `[server]` says. pooling: how a text becomes one embedding, else as the model's file says.
    """

    path: ModelPath
    context: Count | None = None
    parallel: Sequences | None = None
    ram_bytes: SizeBytes | None = Field(default=None, alias="ram")
    private: bool = False
    pooling: Literal["mean", "cls", "last"] | None = None
    adapter: FilePath | None = None
    keep_alive_s: DurationS | None = Field(default=None, alias="keep_alive")


class EnergySettings(_Section):
    """`[energy]`. Whether meter and constants suit each other, `sixgig.energy.open_meter` checks."""

    meter: MeterKind = "auto"
    price_per_kwh: Amount | None = None
    currency: Currency = "EUR"
    wall_idle_watts: Watts | None = None
    wall_busy_watts: Watts | None = None


class LedgerSettings(_Section):
    """`[ledger]`. path: absolute; None, where programs of this user keep their data."""

    path: FilePath | None = None


class Settings(Routing):
    """The whole file; what may send a request away is inherited, and checked, as `Routing` has it.

    aliases: further names, with * and ? as in file names, each for a model here; the first that fits counts.
    """

    server: ServerSettings = ServerSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    keys: tuple[KeySettings, ...] = Field(default=(), strict=False)
    models: dict[ModelName, ModelSettings] = Field(default_factory=dict)
    aliases: dict[Alias, ModelName] = Field(default_factory=dict)
    energy: EnergySettings = EnergySettings()
    ledger: LedgerSettings = LedgerSettings()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if faults := [*_twins(self), *_alias_faults(self)]:
            raise ValueError("\n".join(faults))
        return self


def load_settings(path: Path) -> Settings:
    """Read the file. Relative paths in it are relative to its folder.

    Raises UsageError: not readable, not TOML, or with a clause for each wrong field.
    """
    document = read_toml(path)
    try:
        return Settings.model_validate(document, context={"folder": path.absolute().parent})
    except ValidationError as error:
        faults = " | ".join(complaints(error, document, _names()))
        raise UsageError(f"{path.name}: {faults}", cure="mend the file") from error


def check_exposure(settings: Settings) -> None:
    """Raises UsageError where anyone could use the server: others are let in, and no key is asked for."""
    server = settings.server
    if settings.keys:
        return
    cure = "make a key with sixgig serve --new-key NAME"
    if not Authority(server.host, None).is_loopback:
        what = f"the server would listen on {server.host} for everyone in reach"
        raise UsageError(what, "no key is configured", f"{cure}, or listen on 127.0.0.1")
    for field in ("allowed_hosts", "allowed_origins"):
        if ANY in getattr(server, field):
            what = f'{field} = ["*"] would open the server to every page in a browser here'
            raise UsageError(what, "no key is configured", f"{cure}, or name who is allowed")


def _twins(settings: Settings) -> Iterator[str]:
    """Names that people or clients take for one another."""
    for name in _repeated([key.name.casefold() for key in settings.keys]):
        yield f"keys: more than one is named {name}; give each a name of its own"
    if _repeated([key.sha256 for key in settings.keys]):
        yield "keys: two have the same sha256; give each a secret of its own"
    for name in _repeated([_plain(name) for name in settings.models]):
        yield f"models: more than one answers to {name}; give each a name of its own"


def _alias_faults(settings: Settings) -> Iterator[str]:
    """Whether a model of the command line is meant, is known later: `require_aliases_lead_somewhere`."""
    models, aliases = set(map(_plain, settings.models)), [_plain(alias) for alias in settings.aliases]
    for name in _repeated(aliases):
        yield f"aliases: more than one is {name}; give each a name of its own"
    for alias, model in settings.aliases.items():
        if _plain(alias) in models:
            yield f"[aliases] {alias!a}: a model is named so; take another alias, or rename the model"
        if _plain(model) in aliases:
            yield f"[aliases] {alias!a}: {model!a} is an alias itself; name a model"


def require_aliases_lead_somewhere(settings: Settings, models: Sequence[str]) -> None:
    """models: all that are served. Raises UsageError for an alias of none of them, or named as one is."""
    named = set(map(_plain, models))
    for alias, model in settings.aliases.items():
        if model not in models:
            what, there = f"the alias {alias!a} is for {model!a}, which is not served", ", ".join(models)
            raise UsageError(what, f"served are: {there}", "name one of them")
        if _plain(alias) in named:
            raise UsageError(f"the alias {alias!a} is a model's name as well", cure="take another alias")


def _plain(name: str) -> str:
    return name.casefold().removesuffix(":latest")


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _names() -> Names:
    """The fields of each section as the file writes them."""
    sections: dict[str, type[BaseModel]] = {
        "": Settings,
        "server": ServerSettings,
        "keys": KeySettings,
        "models": ModelSettings,
        "energy": EnergySettings,
        "ledger": LedgerSettings,
        "upstreams": Upstream,
        "rules": Rule,
        "spending": Spending,
    }
    return {
        name: [field.alias or own for own, field in section.model_fields.items()]
        for name, section in sections.items()
    }
