"""The settings of a pool: how they are shown, what a form of them changes, who applies that."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.pool.settings import SETTINGS
from dashboard.settings import setting_field
from dashboard.settings_view import audience, changed, setting_diff, setting_rows
from dashboard.upstream import OperatorProblem

HELD: dict[str, Any] = {"command_timeout": 0.75, "retry_writes": True, "newer": {"a": 1}}


def test_every_setting_has_a_row_with_meaning_value_and_default() -> None:
    rows = {row.name: row for row in setting_rows(HELD)}
    assert list(rows) == [*SETTINGS, "newer"]
    timeout = rows["command_timeout"]
    assert (timeout.value, timeout.default, timeout.typed) == ("0.75", "5", "0.75")
    assert timeout.doc == SETTINGS["command_timeout"].doc
    assert rows["retry_writes"].choices == ("true", "false")
    assert rows["read_from"].choices == SETTINGS["read_from"].words
    assert (rows["max_lag"].value, rows["max_lag"].default, rows["max_lag"].typed) == (
        *(None, "none", ""),
    )
    assert (rows["newer"].value, rows["newer"].choices) == ('{"a": 1}', ('{"a": 1}',))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("command_timeout", "2", 2),
        ("command_timeout", "0.25", 0.25),
        ("command_timeout", "", None),
        ("command_timeout", "soon", "soon"),
        ("command_timeout", "inf", "inf"),
        ("max_lag", "none", "none"),
        ("retry_writes", "false", False),
        ("retry_writes", "perhaps", "perhaps"),
        ("on_error", "miss", "miss"),
        ("newer", "", None),
        ("newer", "2", "2"),
    ],
)
def test_what_is_typed_goes_to_the_metaserver_with_its_type(
    name: str, text: str, value: object
) -> None:
    was = {row.name: row.was for row in setting_rows(HELD)}
    assert changed({name: text}, was, HELD) == {name: value}


def test_what_is_as_it_was_changes_nothing() -> None:
    typed = {row.name: row.typed for row in setting_rows(HELD)}
    assert changed(typed, typed, HELD) == {}
    assert changed({"command_timeout": "0.750"}, typed, HELD) == {}
    assert changed({"max_lag": ""}, {}, HELD) == {}, "the default of a setting that has it"


def test_a_field_left_alone_does_not_undo_what_another_operator_set_meanwhile() -> None:
    was = {row.name: row.was for row in setting_rows(HELD)}
    now = {**HELD, "command_timeout": 9}
    assert changed({**was, "on_error": "miss"}, was, now) == {"on_error": "miss"}
    (row,) = [row for row in setting_rows(now, was, was) if row.name == "command_timeout"]
    assert (row.value, row.typed, row.was) == ("9", "0.75", "0.75")


def test_the_difference_names_defaults_as_such() -> None:
    after = {"command_timeout": 5.0, "on_error": "miss"}
    told = [(each.name, each.before, each.after) for each in setting_diff(HELD, after)]
    assert told == [
        ("command_timeout", "0.75", "5"),
        ("retry_writes", "true", "false (default)"),
        ("on_error", "raise (default)", "miss"),
        ("newer", '{"a": 1}', "the default"),
    ]


def client(name: str, lease: str = "running", **own: str) -> dict[str, Any]:
    return {"client": name, "app": None, "host": "web-3", "process": 7, "lease": lease} | {
        "settings": own
    }


def test_running_clients_apply_it_but_for_those_with_a_value_of_their_own() -> None:
    clients = [client("a"), client("b", max_lag="2", on_error="miss"), client("c", "over")]
    found = audience(clients, ["max_lag"])
    assert found.told.startswith("2 running clients apply it")
    assert found.own == ("b on web-3, process 7 goes by its own max_lag: 2",)
    assert audience([client("c", "over")], ["max_lag"]).told.startswith("No client runs")
    many = [client(str(number), max_lag="1") for number in range(14)]
    assert (len(audience(many, ["max_lag"]).own), audience(many, ["max_lag"]).more) == (10, 4)


@pytest.mark.parametrize(
    ("detail", "field"),
    [
        ("settings.max_lag: -1 is out of range: from 0.001 to 3600.0", "set-max_lag"),
        ('"settings.newest": there is no such setting', ""),
        ("Pool 'cache' is being resized: add shard x", ""),
    ],
)
def test_the_field_that_a_refusal_is_about(detail: str, field: str) -> None:
    assert setting_field(OperatorProblem("Title", detail), list(SETTINGS)) == field
