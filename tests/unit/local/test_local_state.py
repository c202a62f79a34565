"""The state directory: its lock, the files it replaces, the files it never touches."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local.state import StateDirectory, default_directory


def test_default_lies_below_xdg_state_home() -> None:
    assert default_directory("blue", {"XDG_STATE_HOME": "/state"}) == Path("/state/cachemesh/blue")
    assert default_directory("blue", {}).match("*/.local/state/cachemesh/blue")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(LocalStackError, match="no home directory; set XDG_STATE_HOME"):
        default_directory("blue", {})


def test_files_are_private(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "stack")
    state.acquire()
    state.write({"state": "up"})
    assert (tmp_path / "stack").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "stack" / "stack.json").stat().st_mode & 0o777 == 0o600
    assert state.read() == {"state": "up"}
    state.release()


def test_a_directory_in_use_is_refused_and_names_the_stack(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path / "stack")
    first.acquire()
    first.write({"info": {"pool": "blue", "url": "cachemesh://127.0.0.1:7700/blue"}})
    second = StateDirectory(tmp_path / "stack")
    assert second.in_use()
    with pytest.raises(LocalStackError) as caught:
        second.acquire()
    assert "pool 'blue' (cachemesh://127.0.0.1:7700/blue)" in str(caught.value)
    assert "cachemesh down --dir" in str(caught.value)
    first.release()
    assert not second.in_use()


def test_what_an_earlier_stack_left_is_cleared(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "stack")
    state.acquire()
    (state / "meta.db").write_text("old")
    (state / "data" / "dump.rdb").write_text("old")
    state.release()
    state.acquire()
    assert not (state / "meta.db").exists()
    assert list((state / "data").iterdir()) == []
    state.release()


def test_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(LocalStackError, match="not made by `cachemesh up`"):
        StateDirectory(tmp_path).acquire()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalStackError, match=r"file/stack cannot hold a stack: .*; choose"):
        StateDirectory(tmp_path / "file" / "stack").acquire()


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"info": {')
    with pytest.raises(LocalStackError, match=r"stack\.json is damaged"):
        StateDirectory(tmp_path).read()
