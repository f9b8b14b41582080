"""Types of the configuration's values: checked and brought into one form as they are read."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from sixgig.errors import UsageError
from sixgig.modelfile.listing import is_reference, reference
from sixgig.modelfile.slips import of_page
from sixgig.settings.durations import parse_duration
from sixgig.settings.origins import ANY, parse_origin
from sixgig.units import parse_size

_LARGEST = 2**31 - 1
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_OF_A_NAME = 128


def _size(value: Any) -> Any:
    """Bytes; a whole number counts them itself."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError('must be a size such as "6G" or "512M"')
    return _told(parse_size, value) if isinstance(value, str) else value


def _duration(value: Any) -> Any:
    if isinstance(value, str | int | float):
        return _told(parse_duration, value)
    raise ValueError('must be a duration such as "30s", "5m", or "forever"')


def _told(parse: Any, value: Any) -> Any:
    """What the parser complains about, as pydantic wants to hear it."""
    try:
        return parse(value)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _host(host: str) -> str:
    """A name or an address to listen on, without brackets."""
    host = host.lower().removeprefix("[").removesuffix("]")
    if not (_is_address(host) or _NAME.fullmatch(host)):
        raise ValueError('must be a name or an address to listen on, as in "127.0.0.1" or "::"')
    return _shortest(host)


def _allowed_host(host: str) -> str:
    """As `_host`, "*" for any, or "*.example.org" for all names below that one."""
    host = host.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if host != ANY and not (_is_address(host) or _NAME.fullmatch(host.removeprefix("*."))):
        raise ValueError(
            'must be a name without scheme and port, as in "chat.example.org" or "*.example.org"'
        )
    return _shortest(host)


def _allowed_origin(origin: str) -> str:
    parsed = None if origin == ANY else parse_origin(origin.removesuffix("/"))
    if parsed is None and origin != ANY:
        raise ValueError('must be scheme, host and port of a page, as in "https://chat.example.org:8443"')
    return ANY if parsed is None else str(parsed)


def _proxy(text: str) -> str:
    """An address, or a network as in "10.0.0.0/8"."""
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError('must be an address or a network, as in "10.0.0.7" or "10.0.0.0/8"') from None


def _shortest(host: str) -> str:
    """Of an address the one spelling that requests' are brought into, too."""
    return str(ipaddress.ip_address(host)) if _is_address(host) else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host


def _label(name: str) -> str:
    if not _LABEL.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, dots, dashes or underscores")
    return name


def _model_name(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    sound = name[:1].isalnum() and name[-1:] not in (":", "/") and all(map(_names_a_model, name))
    if not sound or len(name) > _MOST_OF_A_NAME:
        raise ValueError("a model's name has up to 128 letters, digits and . _ - : /")
    return name


def _names_a_model(character: str) -> bool:
    """Letters and digits of any script, with their marks."""
    return character in "._-:/" or unicodedata.category(character)[0] in "LMN"


def _alias(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _MOST_OF_A_NAME:
        raise ValueError("must be a name as clients ask for it, with * and ? as in file names")
    return name


def _currency(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError('must be three capital letters, as in "EUR"')
    return code


def _digest(text: str) -> str:
    text = text.lower()
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError("must be the 64 hex digits that sixgig serve --new-key prints, never the key itself")
    return text


def _path(value: Any, info: ValidationInfo) -> Path:
    """Absolute; what is relative is so to the folder of the file."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text.strip() or "\0" in text:
        raise ValueError("must be the path of a file")
    try:
        return Path((info.context or {}).get("folder", ".")).absolute() / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with the home folder of nobody known here") from error


def _model(text: str, info: ValidationInfo) -> str:
    """A path as `_path` makes it, or hf:owner/repo[:word] as it is."""
    if is_reference(text) or of_page(text):
        _told(reference, text)
        return text
    return str(_path(text, info))


SizeBytes = Annotated[int, BeforeValidator(_size), Field(ge=1, lt=2**63)]
VramBytes = Annotated[int, BeforeValidator(_size), Field(ge=0, lt=2**63)]
DurationS = Annotated[float, BeforeValidator(_duration)]
Count = Annotated[int, Field(ge=1, le=_LARGEST)]
Sequences = Annotated[int, Field(ge=1, le=256)]  # llama.cpp's own limit
Watts = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Host = Annotated[str, AfterValidator(_host)]
AllowedHost = Annotated[str, AfterValidator(_allowed_host)]
AllowedOrigin = Annotated[str, AfterValidator(_allowed_origin)]
Proxy = Annotated[str, AfterValidator(_proxy)]
Label = Annotated[str, AfterValidator(_label)]
ModelName = Annotated[str, AfterValidator(_model_name)]
Alias = Annotated[str, AfterValidator(_alias)]
Digest = Annotated[str, AfterValidator(_digest)]
Currency = Annotated[str, AfterValidator(_currency)]
FilePath = Annotated[Path, BeforeValidator(_path)]
ModelPath = Annotated[str, AfterValidator(_model)]
