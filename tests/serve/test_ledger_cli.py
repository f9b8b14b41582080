"""`sixgig ledger`: its tables, its documents, its picture, and what it refuses."""

import csv
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sixgig.cli.main import main
from sixgig.ledger import Entry, Ledger, Residency, default_path
from tests.serve.ledger_rows import entry, residency

Capture = pytest.CaptureFixture[str]
AWAY: dict[str, Any] = {"served_by": "up", "joules": None, "energy_source": "", "energy_cost_micros": None}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A narrow terminal in Berlin, and nobody's ledger."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(day: int, hour: int = 12) -> float:
    return datetime(2026, 11, day, hour).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three days in November."""
    rows: list[Entry | Residency] = [
        entry("a", began_at=at(1, 0), joules=36.0, model="small"),
        entry("b", began_at=at(1, 23), joules=None, energy_cost_micros=None, key=""),
        entry("c", began_at=at(2), upstream_cost_micros=2_500_000, outcome="failed", **AWAY),
        entry("d", began_at=at(3), energy_estimated=True, completion_tokens=None, outcome="cancelled"),
        residency("r", began_at=at(3, 8)),
    ]
    with Ledger.open(tmp_path / "ledger") as ledger:
        ledger.record(rows)
    return tmp_path / "ledger"


def told(capsys: Capture, *arguments: str) -> str:
    assert main(["ledger", *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: Capture, *arguments: str, status: int = 1) -> str:
    assert main(["ledger", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    return captured.err


def test_in_forty_columns_each_figure_stands_whole_beside_its_name(
    capsys: Capture, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = told(capsys, "--file", str(path))
    assert "2026-11-01" in out and "…" not in out
    lines = {line.strip() for line in out.splitlines()}
    assert {"requests: 2", "busy: 5.00 s", "energy: 0.01 Wh (1/2)"} <= lines, out


def test_the_tables_fit_into_eighty_columns_and_say_what_is_missing(capsys: Capture, path: Path) -> None:
    out = told(capsys, "--file", str(path))
    lines = [line.split() for line in out.splitlines()]
    assert max(map(len, out.splitlines())) <= 80 and "\x1b" not in out
    assert ["2026-11-01", "2", "2", "0", "0", "5.00", "s"] in lines
    assert ["2026-11-01", "200", "80", "40"] in lines
    assert ["2026-11-01", "0.01", "Wh", "(1/2)", "0.000003", "(1/2)", "-", "-", "-"] in lines
    assert ["2026-11-02", "-", "-", "-", "-", "2.50"] in lines
    assert ["2026-11-03", "~0.00833", "Wh", "~0.000003", "2", "Wh", "0.000600", "-"] in lines
    assert ["total", "400", "160", "~60", "(3/4)"] in lines
    assert "(97/100): of 97 in 100" in out and "~: rests on estimates" in out


def test_what_is_whole_and_measured_carries_no_marks_and_an_answer_cut_short_does(
    capsys: Capture, path: Path
) -> None:
    out = told(capsys, "--file", str(path), "--until", "2026-11-01", "--by", "model")
    assert "97/100" in out
    out = told(capsys, "--file", str(path), "--since", "2026-11-02", "--until", "2026-11-02")
    assert "97/100" not in out
    assert [word for word in out.split() if "~" in word] == ["~20", "~20", "~:"]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("day", ["2026-11-01", "2026-11-02", "2026-11-03"]),
        ("model", ["m", "small"]),
        ("key", ["", "anna"]),
        ("server", ["local", "up"]),
    ],
)
def test_csv_and_json_say_the_same(capsys: Capture, path: Path, by: str, names: list[str]) -> None:
    head, *lines = csv.reader(told(capsys, "--file", str(path), "--by", by, "--csv").splitlines())
    document = json.loads(told(capsys, "--file", str(path), "--by", by, "--json"))
    assert document["by"] == by == head[0] and document["break_even"] is None
    assert [line[0] for line in lines] == [row["name"] for row in document["rows"]] == names
    for line, row in zip(lines, document["rows"], strict=True):
        values = dict(zip(head, line, strict=True))
        assert values["served_requests"] == str(row["served"]["requests"])
        for figure in ("joules", "energy_micros", "upstream_micros", "completion_tokens"):
            told_twice = row["served"][figure]
            total = told_twice["total"]
            assert values[f"served_{figure}"] == ("" if total is None else str(total))
            for count in ("measured", "of", "estimated"):
                assert values[f"served_{figure}_{count}"] == str(told_twice[count])
    assert document["total"]["served"]["requests"] == 4
    assert document["total"]["loaded"]["energy_micros"]["total"] == 600


def test_csv_to_the_letter(capsys: Capture, path: Path) -> None:
    out = told(capsys, "--file", str(path), "--since", "2026-11-03", "--csv")
    head, line = out.split("\n")[:2]
    assert out.endswith("\n") and out.count("\n") == 2
    assert head == (
        "day,served_requests,served_ok,served_failed,served_cancelled,served_busy_s,"
        "served_prompt_tokens,served_prompt_tokens_measured,served_prompt_tokens_of,"
        "served_prompt_tokens_estimated,served_cached_tokens,served_cached_tokens_measured,"
        "served_cached_tokens_of,served_cached_tokens_estimated,served_completion_tokens,"
        "served_completion_tokens_measured,served_completion_tokens_of,served_completion_tokens_estimated,"
        "served_joules,served_joules_measured,served_joules_of,served_joules_estimated,served_energy_micros,"
        "served_energy_micros_measured,served_energy_micros_of,served_energy_micros_estimated,"
        "served_upstream_micros,served_upstream_micros_measured,served_upstream_micros_of,"
        "served_upstream_micros_estimated,loaded_seconds,loaded_joules,loaded_joules_measured,"
        "loaded_joules_of,loaded_joules_estimated,loaded_energy_micros,loaded_energy_micros_measured,"
        "loaded_energy_micros_of,loaded_energy_micros_estimated"
    )
    assert line == (
        "2026-11-03,1,0,0,1,2.5,100,1,1,0,40,1,1,0,,0,1,0,30.0,1,1,1,3,1,1,1,,0,0,0,"
        "3600.0,7200.0,1,1,0,600,1,1,0"
    )


def test_a_hostile_name_drives_neither_terminal_nor_table(capsys: Capture, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record([entry(model='[red]\x1b[2J,"x"\n=1' + "y" * 150)])
    out = told(capsys, "--file", str(tmp_path / "l"), "--by", "model")
    assert "\x1b" not in out and "[red]" in out and max(map(len, out.splitlines())) <= 80
    lines = list(
        csv.reader(told(capsys, "--file", str(tmp_path / "l"), "--by", "model", "--csv").splitlines(True))
    )
    assert lines[1][0].startswith(r'[red]\x1b[2J,"x"\n=1') and len(lines) == 2


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\uff1d1",
    "\u00a0=1",
    "\x00=1",
    "|x",
    "%0",
]


@pytest.mark.parametrize("by", ["model", "key", "server"])
def test_no_name_is_exported_as_a_formula_or_as_more_than_one_line(
    capsys: Capture, tmp_path: Path, by: str
) -> None:
    columns = {"model": "model", "key": "key", "server": "served_by"}
    names = [*FORMULAS, "a\nb", "a\r\nb", "a\u2028b", "plain-name:7B_v1.0", "\u6a21\u578b"]
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.record([entry(str(n), **{columns[by]: name}) for n, name in enumerate(names)])
    out = told(capsys, "--file", str(tmp_path / "l"), "--by", by, "--csv")
    shown = [line[0] for line in csv.reader(out.splitlines())][1:]
    assert len(out.splitlines()) == 1 + len(names) and len(set(shown)) == len(names)
    assert all(name.isprintable() and name[0] not in "=+-@|% \uff1d" for name in shown)
    assert {"plain-name:7B_v1.0", "\u6a21\u578b", "'=1+1", "a\\nb"} <= set(shown)


def test_days_given_are_whole_days_here(capsys: Capture, path: Path) -> None:
    arguments = ("--file", str(path), "--json", "--since", "2026-11-01", "--until")
    for until, requests in (("2026-11-01", 2), ("2026-11-02", 3), ("2026-12-31", 4)):
        total = json.loads(told(capsys, *arguments, until))["total"]
        assert total["served"]["requests"] == requests


def test_a_comparison_with_its_numbers(capsys: Capture, path: Path) -> None:
    arguments = ("--file", str(path), "--input-price", "0.1", "--output-price", "0.4")
    out = told(capsys, *arguments, "--hardware-cost", "900", "--empty-watts", "50", "--tariff", "0.30")
    assert "at the API: 0.000046 for 300 tokens in and 40 (2/3) out" in out
    assert "energy ~0.000006 (2/3), staying loaded 0.7200, hardware 900.00" in out
    assert "cheaper here from" in out and "staying loaded costs 0.3600 a day" in out
    assert "the hardware is paid for: never" in out
    free = told(capsys, "--file", str(path), "--input-price", "0", "--output-price", "0")
    assert "break-even: never" in free and "a million tokens 0.0273 here, 0.00 there" in free
    document = json.loads(told(capsys, *arguments, "--json"))["break_even"]
    assert document["api_micros"] == 46 and document["here_micros"] == 606
    assert document["tokens_per_day"] == pytest.approx(300 / (46 / 340 - 6 / 220))


def test_what_a_comparison_lacks_is_said(capsys: Capture, path: Path) -> None:
    arguments = ("--file", str(path), "--since", "2026-11-02", "--until", "2026-11-02", "--input-price", "1")
    out = told(capsys, *arguments, "--output-price", "1")
    assert "no comparison: no request with known tokens was served here" in out
    document = json.loads(told(capsys, *arguments, "--output-price", "1", "--json"))
    assert document["break_even"] == {"reason": "no request with known tokens was served here"}


@pytest.mark.parametrize("ending", ["svg", "png"])
@pytest.mark.parametrize("by", ["day", "model", "key", "server"])
def test_a_picture_is_drawn_whole(capsys: Capture, path: Path, tmp_path: Path, by: str, ending: str) -> None:
    with Ledger.open(path) as ledger:
        ledger.record([entry("odd", model="$x_1$ <&>", key="\x1b$")])
    picture = tmp_path / "pictures" / f"p.{ending}"
    picture.parent.mkdir()
    told(capsys, "--file", str(path), "--by", by, "--plot", str(picture))
    assert picture.read_bytes().startswith(b"<?xml" if ending == "svg" else b"\x89PNG")
    assert [found.name for found in picture.parent.iterdir()] == [picture.name]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    capsys: Capture, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.svg").write_text("old")
    monkeypatch.setattr(
        "os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    assert main(["ledger", "--file", str(path), "--plot", str(tmp_path / "p.svg")]) == 1
    assert "cannot write" in (said := capsys.readouterr().err) and "No space left" in said
    assert (tmp_path / "p.svg").read_text() == "old"


def test_without_the_extra_a_picture_is_refused_first(
    capsys: Capture, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "sixgig[plot]"' in refused(capsys, "--file", str(path), "--plot", "p.svg")


def test_nothing_served_yet_is_no_failure(capsys: Capture, tmp_path: Path) -> None:
    assert told(capsys).startswith("Nothing has been served")
    assert not default_path().exists() and default_path().is_relative_to(tmp_path)
    assert json.loads(told(capsys, "--json"))["rows"] == []
    assert told(capsys, "--csv").count("\n") == 1
    assert told(capsys, "--plot", str(tmp_path / "p.svg")) and not (tmp_path / "p.svg").exists()
    with Ledger.open(default_path()):
        assert told(capsys).startswith("Nothing has been served")


def test_without_a_file_it_shows_the_servers_own(capsys: Capture) -> None:
    with Ledger.open(default_path()) as ledger:
        ledger.record([entry(model="mine")])
        assert "mine" in told(capsys, "--by", "model")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--file", "/no/such/ledger"], "there is no ledger /no/such/ledger"),
        (["--csv", "--json"], "--csv and --json exclude each other; choose one"),
        (["--plot", "p.pdf"], "cannot draw p.pdf; name a .png or .svg file"),
        (["--input-price", "1"], "a comparison needs two prices; give --input-price and --output-price"),
        (["--hardware-cost", "1"], "a comparison needs two prices"),
        (["--input-price", "1", "--output-price", "nan"], "--output-price nan cannot be"),
        (["--input-price", "-1", "--output-price", "1"], "--input-price -1.0 cannot be"),
        (["--input-price", "1", "--output-price", "1", "--tariff", "1"], "--empty-watts and --tariff need"),
        (["--until", "9999-12-31"], "9999-12-31 is out of range"),
    ],
)
def test_what_it_cannot_do_it_says(capsys: Capture, arguments: list[str], words: str) -> None:
    status = 1 if words.startswith("there is no ledger") else 2
    assert f"error: {words}" in refused(capsys, *arguments, status=status)


@pytest.mark.parametrize("arguments", [["--since", "yesterday"], ["--by", "month"], ["--input-price", "x"]])
def test_a_mistyped_option_is_misuse(capsys: Capture, arguments: list[str]) -> None:
    assert "see sixgig ledger --help" in refused(capsys, *arguments, status=2)


def test_another_programs_file_is_refused_by_name(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "notes is no ledger" in refused(capsys, "--file", str(tmp_path / "notes"))
    assert (tmp_path / "notes").read_text() == "mine"


def test_money_set_aside_for_answers_that_never_ended_is_told(path: Path, capsys: Capture) -> None:
    with Ledger.open(path) as ledger:
        ledger.reserve("lost", at(15), "up", "", "m", 1_500_000)
    assert main(["ledger", "--file", str(path)]) == 0
    told = capsys.readouterr().out
    assert "1 requests left and never ended" in told and "1.50" in told


def test_days_that_end_before_they_begin_are_refused(path: Path, capsys: Capture) -> None:
    assert main(["ledger", "--file", str(path), "--since", "2026-11-15", "--until", "2026-11-13"]) == 2
    assert "--since is after --until" in capsys.readouterr().err
