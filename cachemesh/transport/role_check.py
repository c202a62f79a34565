"""Reads an instance's role from its reply, for the handshakes of both transports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from cachemesh.core.names import Address
from cachemesh.core.reads.replication_status import parse_role, role_of
from cachemesh.core.resilience.error_classification import WrongRoleError

ROLE_QUESTIONS = ("ROLE", "HELLO")
"""The commands that tell a role. An ACL may deny ROLE, which is @admin; HELLO is never denied."""


@contextmanager
def hooks_may_fail() -> Iterator[None]:
    """Guard a call of an app's ``credential_provider`` or ``redis_connect_func``.

    redis-py disconnects only after errors of its own. After any other error it would take the
    connection, which has not logged in, for a good one.

    Raises:
        redis.TimeoutError, redis.ConnectionError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        kind = redis.TimeoutError if isinstance(error, TimeoutError) else redis.ConnectionError
        raise kind(str(error)) from error


def check_role(reply: Any, connection: Any) -> None:
    """Check that a reply to one of `ROLE_QUESTIONS` is a master's.

    Args:
        reply: as redis-py gives it, decoded or not.
        connection: the redis-py connection that was asked; named in the error.

    Raises:
        WrongRoleError: the instance has another role.
        redis.InvalidResponse: the reply has no role.
    """
    if isinstance(reply, list) and reply and reply[0] in (b"server", "server"):  # HELLO in RESP2
        reply = dict(zip(reply[::2], reply[1::2], strict=False))  # garbage may be of odd length
    hello = isinstance(reply, dict)
    try:
        role = role_of([reply.get(b"role", reply.get("role"))] if hello else reply)
    except ValueError as error:
        raise redis.InvalidResponse(
            "The reply to ROLE is not Redis's; check which server listens at this address"
        ) from error
    if role != "master":
        raise WrongRoleError(
            f"{connection.host}:{connection.port} is a {role:.40}, not a master",
            None if hello else _master_of(reply),
        )


def _master_of(reply: Any) -> Address | None:
    """Return the master that a replica's reply to ROLE names; None if the reply names none."""
    try:
        return parse_role(reply).master
    except ValueError:
        return None


def no_client_id() -> None:
    """Return no id: metaservers do not know the client of a connection."""
