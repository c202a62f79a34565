"""What the redis-server under test can do: asked of the server, not told from its version."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from typing import Any, NoReturn

import pytest

from cachemesh.local.binaries import REDIS_SERVER
from tests.support.needs import lacks


def has_command(client: Any, name: str) -> bool:
    """Whether the server behind a plain redis-py client knows a command (not a subcommand)."""
    known: dict[str, Any] = client.command()
    return name.lower() in known


def needs_command(client: Any, name: str) -> None:
    """End the test where the server behind a plain redis-py client lacks a command."""
    if not has_command(client, name):
        _cannot(f"{client.info('server')['redis_version']} has no {name}")


def needs_tls(binary: str) -> None:
    """End the test where a redis-server was built without TLS."""
    if not speaks_tls(binary):
        _cannot(f"{binary} was built without TLS")


def _cannot(reason: str) -> NoReturn:
    """What was chosen to be tried, as by `scripts/compat`, may be unable; this system's may not."""
    if os.environ.get(REDIS_SERVER):
        pytest.skip(reason)
    lacks(reason)


@cache
def speaks_tls(binary: str) -> bool:
    """Whether a redis-server was built with TLS.

    Such a one takes the first of two wrong options and complains of the second; one without TLS
    complains of the first.
    """
    done = subprocess.run(
        [binary, "--tls-port", "0", "--port", "none"], capture_output=True, text=True, check=False
    )
    return "tls-port" not in done.stdout + done.stderr
