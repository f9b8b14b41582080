"""What may stand in the ledger: figures and names that fit, and no text."""

import re
from dataclasses import fields
from math import inf, nan
from typing import Any

import pytest

from sixgig.ledger import Entry, Reservation, Residency
from sixgig.ledger.entry import LATEST, MOST, MOST_CHARACTERS
from sixgig.ledger.schema import TABLES
from tests.serve.ledger_rows import entry, residency


@pytest.mark.parametrize("value", [-1, nan, inf, -inf, MOST + 1, pytest.param(10**400, id="huge")])
@pytest.mark.parametrize("name", ["prompt_tokens", "joules", "seconds", "upstream_cost_micros"])
def test_a_figure_that_could_not_be_summed_is_refused(name: str, value: float) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=name):
        entry(**values)


@pytest.mark.parametrize("text", ["x" * (MOST_CHARACTERS + 1), "\ud800"])
@pytest.mark.parametrize("name", ["id", "model", "key", "served_by", "energy_source"])
def test_a_text_that_could_not_be_stored_is_refused(name: str, text: str) -> None:
    values: dict[str, Any] = {name: text}
    with pytest.raises(ValueError, match=name):
        entry(**values)


@pytest.mark.parametrize("moment", [-1.0, nan, LATEST + 1])
def test_a_moment_without_a_next_day_is_refused(moment: float) -> None:
    with pytest.raises(ValueError):
        entry(began_at=moment)
    with pytest.raises(ValueError):
        residency(began_at=moment)
    with pytest.raises(ValueError):
        Reservation("a", moment, "up", "", "m", 1)


def test_what_is_not_known_and_what_is_extreme_may_stand() -> None:
    entry(prompt_tokens=None, joules=None, first_token_s=None, began_at=LATEST, key="", model="x" * 200)
    entry(prompt_tokens=0, completion_tokens=MOST, seconds=0.0, began_at=0.0)


@pytest.mark.parametrize(
    ("table", "row", "more"),
    [
        ("entries", Entry, []),
        ("residencies", Residency, []),
        ("reservations", Reservation, ["settled_micros"]),
    ],
)
def test_a_column_has_its_fields_name_and_there_is_no_other(table: str, row: type, more: list[str]) -> None:
    declared = TABLES.split(f"CREATE TABLE {table} (")[1].split(");")[0]
    columns = re.findall(r"^    (\w+) ", declared, re.MULTILINE)
    assert columns == [field.name for field in fields(row)] + more


def test_no_column_holds_a_prompt_or_an_answer() -> None:
    texts = set(re.findall(r"^    (\w+) TEXT", TABLES, re.MULTILINE))
    assert texts == {
        "id", "model", "key", "path", "served_by", "outcome", "energy_source", "upstream"
    }  # fmt: skip
