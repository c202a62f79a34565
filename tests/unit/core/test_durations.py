"""Durations as people write them."""

from __future__ import annotations

import pytest

from cachemesh.core.durations import duration_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("30m", 1800), ("12h", 43_200), ("90d", 7_776_000), ("0s", 0)],
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "h", "1.5h", "-1h", "1w", "1 h", "\u0661h", "9" * 10 + "s"]
)
def test_what_is_none(text: str) -> None:
    assert duration_seconds(text) is None
