"""What a client goes by: its own options first, then the pool's settings, then the defaults."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.core.errors import ConfigurationError, InvalidDocumentError
from cachemesh.core.policy import OPTIONS, Policy, check_options
from cachemesh.core.pool.settings import SETTINGS, check_settings
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.retry import Timeouts


def test_the_defaults() -> None:
    policy = Policy.of({}, {})
    assert policy == Policy(Timeouts(5.0, 1.0), Reading("master", None), False, False)


def test_options_win_over_settings() -> None:
    settings = {
        "command_timeout": 2.0,
        "connect_timeout": 0.5,
        "retry_writes": True,
        "on_error": "miss",
        "read_from": "weighted",
        "max_lag": 3.0,
        "on_lease_lost": "refuse",
    }
    assert Policy.of({}, settings) == Policy(
        Timeouts(2.0, 0.5), Reading("weighted", 3.0), True, True, True
    )
    own = {
        "command_timeout": 1.0,
        "connect_timeout": 0.2,
        "retry_writes": False,
        "on_error": "raise",
        "read_from": "master",
        "max_lag": None,
        "on_lease_lost": "serve",
    }
    assert Policy.of(own, settings) == Policy(
        Timeouts(1.0, 0.2), Reading("master", None), False, False
    )
    assert set(own) == set(settings) == OPTIONS


def test_redis_pys_names_for_timeouts() -> None:
    settings = {"command_timeout": 2.0, "connect_timeout": 0.5}
    theirs: dict[str, Any] = {"socket_timeout": 9.0, "socket_connect_timeout": 8.0}
    assert Policy.of(theirs, settings).timeouts == Timeouts(9.0, 8.0)
    for_ever = dict.fromkeys(theirs)
    assert Policy.of(for_ever, settings).timeouts == Timeouts(None, None)


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ({"command_timeout": "1.5"}, {"command_timeout": 1.5}),
        ({"command_timeout": 1}, {"command_timeout": 1}),
        ({"retry_writes": "1"}, {"retry_writes": True}),
        ({"retry_writes": "No"}, {"retry_writes": False}),
        ({"retry_writes": True}, {"retry_writes": True}),
        ({"on_error": "miss"}, {"on_error": "miss"}),
        ({"max_lag": None}, {"max_lag": None}),
        ({"max_lag": "2"}, {"max_lag": 2.0}),
    ],
)
def test_options_are_converted(given: dict[str, Any], checked: dict[str, Any]) -> None:
    made = check_options(given)
    assert made == checked
    assert [type(value) for value in made.values()] == [type(v) for v in checked.values()]


@pytest.mark.parametrize("name", sorted(OPTIONS))
@pytest.mark.parametrize(
    "value", ["", "nan", "-1", "inf", "2x", b"miss", [], {}, object(), -1, 1e9]
)
def test_what_no_option_takes(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"Option {name} takes"):
        check_options({name: value})


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("value", [None, "", "1", "true", b"miss", [], {}, -1, 1e9, float("nan")])
def test_what_no_setting_takes(name: str, value: object) -> None:
    with pytest.raises(InvalidDocumentError, match=f"Setting '{name}' is .*it takes"):
        check_settings({name: value})


def test_settings_of_a_newer_release() -> None:
    assert check_settings({"later": [1]}, keep_unknown=True) == {"later": [1]}
    with pytest.raises(InvalidDocumentError, match="Unknown setting 'later'"):
        check_settings({"later": 1})
