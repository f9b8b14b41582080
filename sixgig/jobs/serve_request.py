"""What is to be served, and how: asked for from Python, completed by the configuration's file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sixgig.engines import ModelSpec
from sixgig.errors import UsageError
from sixgig.jobs.reporter import Request
from sixgig.jobs.served_models import model_specs
from sixgig.settings import ServerSettings, Settings, check_exposure, load_settings
from sixgig.typed import require

# As [server] of the configuration calls them.
OPTIONS = ("ram", "vram", "context", "parallel", "keep_alive", "queue", "host", "port", "threads")


@dataclass(frozen=True)
class ServeRequest(Request):
    """Sizes are bytes; None means what the configuration says, else the default told here.

    models: one or several GGUF files, folders or hf:OWNER/REPO[:QUANT|:FILE]; by default those of the
        configuration, or the demo.
    config: the configuration's TOML file (docs/serve.md); what is given here wins over it.
    ram: for all models and this whole process, what it held before included; by default what is free.
    vram: of a GPU; by default, and with 0, none.
    context: tokens of one request, prompt and answer together.
    parallel: requests that a model answers side by side; by default 4.
    keep_alive_s: seconds that a model stays loaded when nobody asks, by default 300; below zero, for ever.
    queue: requests that may wait; by default 64.
    host: address to listen at; by default 127.0.0.1.
    port: to listen at, by default 8333; 0 is any that is free.
    threads: that compute.
    """

    models: str | Path | Sequence[str | Path] | None = None
    _: KW_ONLY
    config: str | Path | None = None
    ram: int | None = None
    vram: int | None = None
    context: int | None = None
    parallel: int | None = None
    keep_alive_s: float | None = None
    queue: int | None = None
    host: str | None = None
    port: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, unit in (("ram", "bytes"), ("vram", "bytes"), ("keep_alive_s", "seconds")):
            if isinstance(value := getattr(self, name), str):
                raise UsageError(f"{name} of {value!a} is not possible", cure=f"give a number of {unit}")
        super().__post_init__()
        for model in () if isinstance(self.models, str | Path) else self.models or ():
            require("a model", model, str, Path)
        _overridden(Settings(), self.options)

    @property
    def named(self) -> tuple[str, ...]:
        """The models, as text."""
        models = (self.models,) if isinstance(self.models, str | Path) else self.models
        return tuple(os.fspath(model) for model in models or ())

    @property
    def options(self) -> dict[str, Any]:
        """Those given, by the names of OPTIONS."""
        values = {name: getattr(self, "keep_alive_s" if name == "keep_alive" else name) for name in OPTIONS}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Plan:
    """Settings and models of one server."""

    settings: Settings
    specs: tuple[ModelSpec, ...]

    @classmethod
    def of(cls, request: ServeRequest) -> Plan:
        """Read the file, let what was asked for win, find the models, fetching those that are not here.

        Raises UsageError, and as finding a model does.
        """
        settings = Settings() if request.config is None else load_settings(Path(request.config))
        settings = _overridden(settings, request.options)
        check_exposure(settings)
        return cls(settings, model_specs(request.named, settings, request.listener))


def _overridden(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The file's settings with what was asked for instead. Raises UsageError for a value that cannot be."""
    written = settings.server.model_dump(by_alias=True, exclude_unset=True)
    try:
        server = ServerSettings.model_validate({**written, **given})
    except ValidationError as error:
        fault = error.errors()[0]
        option = str(fault["loc"][0]).replace("_", "-")
        what = f"--{option} of {given.get(str(fault['loc'][0]))} is not possible"
        raise UsageError(what, fault["msg"].removeprefix("Value error, ")) from error
    return settings.model_copy(update={"server": server})
