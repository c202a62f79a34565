"""Passwords come by reference alone, and no error repeats one."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from metaserver.password_options import auth_of


def given(password: str | None = None, file: str | None = None) -> dict[str, str | None]:
    return {"redis_username": "ops", "redis_password": password, "redis_password_file": file}


def test_where_passwords_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("REDIS_SECRET", "s3cret")
    for options in (
        given(f"file:{tmp_path / 'secret'}"),
        given("env:REDIS_SECRET"),
        given(file=str(tmp_path / "secret")),
    ):
        auth = auth_of("redis", options)
        assert (auth.username, auth.password) == ("ops", "s3cret")
        assert "s3cret" not in repr(auth)
    assert auth_of("redis", given()).password is None


@pytest.mark.parametrize("password", ["s3cret", "s3cret:", "env:", "pass:s3cret", ""])
def test_the_password_itself_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(click.UsageError, match="never the password itself") as error:
        auth_of("redis", given(password))
    assert "s3cret" not in str(error.value)


def test_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(click.UsageError, match="NOT_THERE is not set"):
        auth_of("redis", given("env:NOT_THERE"))
    with pytest.raises(click.UsageError, match="/nowhere: No such file"):
        auth_of("redis", given("file:/nowhere"))
    with pytest.raises(click.UsageError, match="not both"):
        auth_of("redis", given("env:X", "/nowhere"))
