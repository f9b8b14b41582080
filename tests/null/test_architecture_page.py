"""ARCHITECTURE.md sends nobody to a room, a module or a name that is gone."""

import re
from importlib import import_module
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
DOTTED = re.compile(r"(?:`|\*\*)([a-z_0-9]+(?:\.[A-Za-z_0-9]+)+)(?:`|\*\*)")
NAMES = sorted({name for name in DOTTED.findall(PAGE) if not name.endswith((".py", ".md", ".json"))})
ROOMS = sorted(set(re.findall(r"^\| `(\w[\w/.]*)`", PAGE, re.MULTILINE)))


def found(name: str) -> bool:
    """Whether `room.module`, or a name of one, is in the package."""
    module, names = "sixgig", name.split(".")
    while names:
        try:
            import_module(f"{module}.{names[0]}")
        except ModuleNotFoundError:
            break
        module = f"{module}.{names.pop(0)}"
    thing: object = import_module(module)
    for one in names:
        thing = getattr(thing, one, None)
    return module != "sixgig" and thing is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_a_module_resolves(name: str) -> None:
    assert found(name), f"ARCHITECTURE.md names `{name}`: no such module, nor such a name of one"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_of_the_table_is_there(room: str) -> None:
    assert (Path(__file__).parents[2] / room).exists()


def test_the_page_is_read() -> None:
    assert "inference.load" in NAMES and "jobs.score" in NAMES and "sixgig/jobs/" in ROOMS
    assert not found("inference.budget") and not found("inference.load.nothing") and not found("nowhere.at")
