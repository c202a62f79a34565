"""What a new connection does first: redis-py's own handshake, then ``ROLE``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from cachemesh.core.malformed_replies import understood
from cachemesh.core.names import Address
from cachemesh.core.reads.replication_status import parse_role, role_of


class NotMasterError(redis.ReadOnlyError):
    """An instance that was taken for a master is a replica.

    Attributes:
        master: whose replica it is, by what it says.
    """

    def __init__(self, message: str, master: Address | None) -> None:
        super().__init__(message)
        self.master = master


def told_master(error: BaseException | None) -> Address | None:
    """The master that a replica named in what became this error."""
    while error is not None:
        if isinstance(error, NotMasterError):
            return error.master
        error = error.__cause__
    return None


class Handshake:
    """What a connection does first: redis-py's own handshake, then ``ROLE``."""

    def __init__(self, custom: Callable[[Any], None] | None, role: str | None) -> None:
        self._custom = custom
        self._role = role

    def __call__(self, connection: Any) -> None:
        """Raises NotMasterError if the instance is none and should be."""
        with _helpers_may_fail():
            if self._custom is None:
                with understood():
                    connection.on_connect()
            else:
                self._custom(connection)
        if self._role is not None:
            require_master(connection)


def require_master(connection: Any) -> None:
    """Ask an instance, over a redis-py connection, for its role.

    Raises:
        NotMasterError: it is no master.
        redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse: it does not say.
    """
    for question in _ROLE_QUESTIONS:
        connection.send_command(question, check_health=False)
        try:
            with understood():
                _check_role(connection.read_response(), connection)
        except redis.exceptions.NoPermissionError:
            continue
        return


class AsyncHandshake:
    def __init__(self, custom: Callable[[Any], Any] | None, role: str | None) -> None:
        self._custom = custom
        self._role = role

    async def run(self, connection: Any) -> None:
        """Raises NotMasterError if the instance is none and should be."""
        with _helpers_may_fail():
            if self._custom is None:
                with understood():
                    await connection.on_connect()
            else:
                done = self._custom(connection)
                if inspect.isawaitable(done):
                    await done
        if self._role is not None:
            await require_master_async(connection)


async def require_master_async(connection: Any) -> None:
    """As `require_master`, for asyncio."""
    for question in _ROLE_QUESTIONS:
        await connection.send_command(question, check_health=False)
        try:
            with understood():
                _check_role(await connection.read_response(), connection)
        except redis.exceptions.NoPermissionError:
            continue
        return


@contextmanager
def _helpers_may_fail() -> Iterator[None]:
    """Around what may call an app's ``credential_provider`` or ``redis_connect_func``.

    redis-py disconnects after its own errors alone. After another it would take the connection,
    which has not logged in, for a good one.
    """
    try:
        yield
    except OSError as error:
        kind = redis.TimeoutError if isinstance(error, TimeoutError) else redis.ConnectionError
        raise kind(str(error)) from error


_ROLE_QUESTIONS = ("ROLE", "HELLO")
"""ROLE is @admin, so an app's user may lack it; HELLO tells the role too and is never denied."""


def _check_role(reply: Any, connection: Any) -> None:
    if isinstance(reply, list) and reply and reply[0] in (b"server", "server"):  # HELLO in RESP2
        reply = dict(zip(reply[::2], reply[1::2], strict=False))  # garbage may be of odd length
    hello = isinstance(reply, dict)
    try:
        role = role_of([reply.get(b"role", reply.get("role"))] if hello else reply)
    except ValueError as error:
        raise redis.InvalidResponse(
            "What it says to ROLE is not of Redis; what listens there?"
        ) from error
    if role != "master":
        raise NotMasterError(
            f"{connection.host}:{connection.port} is a {role:.40}, not a master",
            None if hello else _master_of(reply),
        )


def _master_of(reply: list[Any]) -> Address | None:
    """The master of the replica that gave this reply to ROLE; None where the reply names none."""
    try:
        return parse_role(reply).master
    except ValueError:
        return None
