"""What the redis-server under test is able to do, found by asking and not by its version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis

from cachemesh.local.binaries import REDIS_SERVER, speaks_tls
from tests.support.needs import lacks


def has_command(client: Any, name: str) -> bool:
    """Return whether the server of a redis-py client knows a command (not a subcommand)."""
    known: dict[str, Any] = client.command()
    return name.lower() in known


def needs_command(client: Any, name: str) -> None:
    """End the test if the server of a redis-py client lacks a command."""
    if not has_command(client, name):
        _cannot(f"{client.info('server')['redis_version']} has no {name}")


def needs_acl_dry_run(client: Any) -> None:
    """End the test if the server of a redis-py client cannot tell what a user may do."""
    try:
        client.execute_command("ACL", "DRYRUN", "default", "PING")
    except redis.ResponseError:
        _cannot(f"{client.info('server')['redis_version']} has no ACL DRYRUN")


def needs_tls(binary: str) -> None:
    """End the test if a redis-server was built without TLS."""
    if not speaks_tls(Path(binary)):
        _cannot(f"{binary} was built without TLS")


def _cannot(reason: str) -> NoReturn:
    """End the test.

    A server chosen by CACHEMESH_REDIS_SERVER, as `scripts/compat` does, may lack a feature, and the
    test is skipped; the system's own server may not lack one under CI=true.
    """
    if os.environ.get(REDIS_SERVER):
        pytest.skip(reason)
    lacks(reason)
