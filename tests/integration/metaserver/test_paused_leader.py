"""A leader that is paused past its session: what it writes when it goes on is refused."""

from __future__ import annotations

from pathlib import Path

from tests.support.paused_leader import what_it_writes_late_is_refused


def test_what_it_writes_late_is_refused(tmp_path: Path) -> None:
    what_it_writes_late_is_refused("sqlite", str(tmp_path / "meta.db"))
