"""The `cachemesh` command in the test's own process, which saves the start of another."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout

import pytest

from cachemesh.cli.main import run

_VARIABLES = ("CACHEMESH_URL", "CACHEMESH_TOKEN", "CACHEMESH_TOKEN_FILE")


def run_here(variables: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    """Run a command with these variables, and return its exit code, stdout and stderr."""
    streams = [io.BytesIO(), io.BytesIO()]
    out, err = (io.TextIOWrapper(stream, write_through=True) for stream in streams)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in _VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in {"CACHEMESH_SNAPSHOT_DIR": "off", **variables}.items():
            patch.setenv(name, value)
        code = run(words)
    said = [stream.getvalue().decode() for stream in streams]
    return code, said[0], said[1]
