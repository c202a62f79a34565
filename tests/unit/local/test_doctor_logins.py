"""The doctor logs in at instances as the URL says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachemesh.discovery.url import parse_url
from cachemesh.local.doctor.instance_findings import instance_options


@pytest.mark.parametrize("user", [None, "app"])
@pytest.mark.parametrize("in_file", [False, True])
def test_with_a_password_or_the_file_that_has_it(
    tmp_path: Path, user: str | None, in_file: bool
) -> None:
    file = tmp_path / "app.password"
    file.write_text("hunter2\n")
    login = f"password_file={file}" if in_file else "password=hunter2"
    name = "" if user is None else f"&username={user}"
    mesh = parse_url(f"cachemesh+sentinel://127.0.0.1:1/cache?{login}{name}", {})
    options = instance_options(mesh)
    assert (options.username, options.current_password()) == (user, "hunter2")


def test_without_a_login() -> None:
    options = instance_options(parse_url("cachemesh+sentinel://127.0.0.1:1/cache", {}))
    assert (options.username, options.current_password()) == (None, None)
