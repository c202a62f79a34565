"""Options with a meaning of their own: sizes in bytes, and times."""

from __future__ import annotations

import time

import click
import pytest

from cachemesh.cli.param_types import byte_count, since

OPTION = click.Option(["--big-key"])
CONTEXT = click.Context(click.Command("x"))


@pytest.mark.parametrize(
    ("given", "count"),
    [("1", 1), ("500000", 500_000), ("64K", 65_536), ("10m", 10 * 1024**2), ("2G", 2 * 1024**3)],
)
def test_sizes(given: str, count: int) -> None:
    assert byte_count(CONTEXT, OPTION, given) == count


def test_none_is_none() -> None:
    assert byte_count(CONTEXT, OPTION, None) is None


@pytest.mark.parametrize("given", ["", "0", "-1", "1.5M", "M", "1KB", "1 K", "\u0661K", "9" * 13])
def test_what_is_no_size(given: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size; write it like 500000, 64K"):
        byte_count(CONTEXT, OPTION, given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        ("2026-01-31T12:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00+01:00", "2026-01-31T11:00:00.000Z"),
    ],
)
def test_a_time_without_a_zone_is_in_utc_wherever_the_machine_is(
    given: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert since(CONTEXT, OPTION, given) == told
    finally:
        monkeypatch.undo()
        time.tzset()
