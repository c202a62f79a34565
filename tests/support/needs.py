"""Programs that a test needs from the machine, as listed in `scripts/needs`.

A test that lacks one is skipped with the command that installs it; with CI=true the test fails.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local.binaries import REDIS_SERVER, find_redis_server

LIST = Path(__file__).resolve().parents[2] / "scripts" / "needs"


def packages() -> dict[str, str]:
    """Return program -> Debian package, as `scripts/needs` lists them."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {program: package for program, package, _ in rows}


def needs(program: str) -> str:
    """Return the path of a program; skip or fail the test if the program is not installed.

    Args:
        program: a command or path as `scripts/needs` lists it. For redis-server it is the one that
            a local stack finds, which need not be on PATH.
    """
    package = packages()[program]
    if program == "redis-server":
        try:
            return str(find_redis_server().path)
        except LocalStackError as error:
            if os.environ.get(REDIS_SERVER):
                raise
            lacks(str(error))
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None and not (program.startswith("/") and Path(program).exists()):
        lacks(f"{program} is not installed; on Debian and Ubuntu: apt-get install {package}")
    return found or program


def lacks(reason: str) -> NoReturn:
    """End the test, which cannot run on this machine."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: every test must run)")
    pytest.skip(reason)
