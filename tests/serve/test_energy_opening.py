"""Which meter is opened, and what it costs."""

from decimal import Decimal
from pathlib import Path

import pytest

from sixgig.energy import RaplMeter, ReplayMeter, WallMeter, micro_units, open_meter, opening
from sixgig.energy.opening import MeterKind
from sixgig.energy.zeus import NOT_INSTALLED
from sixgig.errors import UsageError
from sixgig.hardware.machine import Absent
from tests.serve.test_energy_meters import zone


@pytest.fixture(autouse=True)
def no_zeus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "open_zeus", lambda: NOT_INSTALLED)


def test_zeus_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 0)
    zeus = ReplayMeter([], "Zeus")
    monkeypatch.setattr(opening, "open_zeus", lambda: zeus)
    assert open_meter("auto", 10, 20, tmp_path) is zeus and open_meter("zeus") is zeus


def test_then_the_processors_counters(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 0)
    assert isinstance(open_meter("auto", 10, 20, tmp_path), RaplMeter)
    assert isinstance(open_meter("rapl", root=tmp_path), RaplMeter)


def test_then_the_owners_constants(tmp_path: Path) -> None:
    meter = open_meter("auto", 10, 20, tmp_path)
    assert isinstance(meter, WallMeter) and meter.estimated
    assert isinstance(open_meter("wall", 10, 20), WallMeter)


def test_else_absent_names_the_cure(tmp_path: Path) -> None:
    found = open_meter(root=tmp_path)
    assert isinstance(found, Absent)
    assert 'pip install "sixgig[energy]"' in found.reason and "wall_idle_watts" in found.reason


def test_an_installed_zeus_is_not_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opening, "open_zeus", lambda: Absent("Zeus reads no device"))
    found = open_meter(root=tmp_path)
    assert isinstance(found, Absent)
    assert "pip install" not in found.reason and "wall_idle_watts" in found.reason


def test_none_is_absent_even_where_a_counter_reads(tmp_path: Path) -> None:
    zone(tmp_path, 0, "package-0", 0)
    assert isinstance(open_meter("none", root=tmp_path), Absent)


@pytest.mark.parametrize(
    ("kind", "cure"),
    [("zeus", "pip install"), ("rapl", "wall_idle_watts"), ("wall", "wall_idle_watts")],
)
def test_a_kind_asked_for_by_name_that_cannot_work_names_the_cure(
    kind: MeterKind, cure: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as raised:
        open_meter(kind, root=tmp_path)
    assert cure in raised.value.cure and raised.value.numbers


@pytest.mark.parametrize(
    ("idle", "busy"), [(10, None), (None, 10), (20, 10), (-1, 10), (float("nan"), 10), (10, float("inf"))]
)
def test_wall_constants_that_make_no_sense_are_refused(
    idle: float | None, busy: float | None, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="wall constants"):
        open_meter("auto", idle, busy, tmp_path)


@pytest.mark.parametrize(
    ("joules", "price", "micro"),
    [
        (3_600_000, 0.3, 300_000),
        (3_600_000, Decimal("0.3"), 300_000),
        (0, 0.3, 0),
        (12, 0.3, 1),
        (6, 0.3, 0),
        (18, 0.3, 2),
        (3.6e12, 0.1, 100_000_000_000),
    ],
)
def test_cost_is_exact_in_millionths_of_the_currency(
    joules: float, price: Decimal | float, micro: int
) -> None:
    assert micro_units(joules, price) == micro
