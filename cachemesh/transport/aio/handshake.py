"""Opens redis-py connections: redis-py's own handshake, then a name and ``ROLE``."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cachemesh.core.connection_names import full_name
from cachemesh.core.fencing import parse_marker
from cachemesh.core.hidden_secrets import hiding
from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address
from cachemesh.core.resilience.error_classification import FencedOffError
from cachemesh.transport import redis_py
from cachemesh.transport.fence_check import VersionedClient, marker_question
from cachemesh.transport.name_resolution import resolving
from cachemesh.transport.role_check import (
    ROLE_QUESTIONS,
    check_role,
    hooks_may_fail,
    no_client_id,
)


def pool_options(template: ConnectionPool, role: str | None = "master") -> dict[str, Any]:
    """Return the options of connections that check ``ROLE`` and never retry by themselves.

    Args:
        template: the pool whose options these are based on.
        role: what the instance has to be; None takes any role.
    """
    custom = template.connection_kwargs.get("redis_connect_func")
    client_id = getattr(template, "client_id", no_client_id)
    versioned = getattr(template, "versioned", None)
    return {
        **template.connection_kwargs,
        **redis_py.ASYNC_OPTIONS,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": Handshake(custom, role, client_id, versioned).run,
    }


async def connect(
    template: ConnectionPool,
    address: Address,
    options: Mapping[str, Any],
    role: str | None = "master",
) -> Any:
    """Return a redis-py connection to one instance, with the handshake done and ``ROLE`` checked.

    Args:
        template: the pool whose connection class and options to use.
        address: of the instance.
        options: used instead of the template's.
        role: what the instance has to be; None takes any role.

    Raises:
        redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError: as redis-py raises.
        WrongRoleError: the instance is no master.
    """
    merged = {**pool_options(template, role), **options, "host": address.host, "port": address.port}
    connection = redis_py.make_connection(resolving(template.connection_class), merged)
    await connection.connect()
    return connection


async def reconnects(connection: Any, master: Address | None) -> bool:
    """Open a closed redis-py connection to the master again, and return whether that worked.

    An app may have given this connection credentials of its own, so a new one would not do.
    """
    if (connection.host, connection.port) != master:
        return False
    try:
        await connection.connect()
    except (OSError, *redis_py.NOT_CONNECTED):
        return False
    return True


class Handshake:
    """The handshake of a redis-py connection, as its ``redis_connect_func``.

    Args:
        custom: the app's own ``redis_connect_func``, which then takes the place of redis-py's part.
        role: what the instance has to be; None asks nothing.
        client_id: returns the id by which metaservers know the client, for the connection's name;
            None for a client that they do not know.
        versioned: tells the version of the pool that the client acts on; None for no check.
    """

    def __init__(
        self,
        custom: Callable[[Any], Any] | None,
        role: str | None,
        client_id: Callable[[], str | None],
        versioned: VersionedClient | None = None,
    ) -> None:
        self._versioned = versioned
        self._custom = custom
        self._role = role
        self._client_id = client_id

    async def run(self, connection: Any) -> None:
        """Log in, name the connection, then check fence and role.

        Raises:
            FencedOffError: the client acts on too old a version of the pool.
            WrongRoleError: the instance is no master and should be one.
        """
        # That of the command which needs the connection, or a later one.
        acts_on = None if self._versioned is None else self._versioned.acting_version
        with hiding(connection.password), hooks_may_fail():
            if self._custom is None:
                with reading_reply():
                    await connection.on_connect()
            else:
                if True:  # asyncio
                    done = self._custom(connection)
                    if inspect.isawaitable(done):
                        await done
                # sync: self._custom(connection)
        client_id, name = self._client_id(), None
        if client_id is not None:
            own = connection.client_name
            if self._custom is not None:  # which may have set any name
                await _send(connection, [("CLIENT", "GETNAME")])
                own = await _reply_or_none(connection) or own
            name = full_name(client_id, own)
        first: list[tuple[str, ...]] = []
        if name is not None:
            first.append(("CLIENT", "SETNAME", name))  # before the marker is read
        if acts_on is not None:
            first += marker_question(connection, self._custom is not None)
        if self._role is not None:
            replies = await require_master(connection, first)
        else:
            replies = await _ask_first(connection, first)
        marker = max((parse_marker(reply) or 0 for reply in replies), default=0)
        if acts_on is not None and self._versioned is not None and marker > acts_on:
            # sync: self._versioned.fetch(marker)
            loop = asyncio.get_running_loop()  # asyncio
            await loop.run_in_executor(None, self._versioned.fetch, marker)  # asyncio
            raise FencedOffError(f"{connection.host}:{connection.port}", acts_on, marker)


async def require_master(connection: Any, first: Sequence[tuple[str, ...]] = ()) -> list[Any]:
    """Ask an instance for its role, over a redis-py connection.

    Args:
        first: commands sent in the same write, before; an ACL may deny them.

    Returns:
        The replies to `first`, None for error replies.

    Raises:
        WrongRoleError: the instance is no master.
        redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse: no role was told.
    """
    replies: list[Any] = []
    for question in ROLE_QUESTIONS:
        await _send(connection, [*first, (question,)])
        replies += [await _reply_or_none(connection) for _ in first]
        first = ()
        try:
            with reading_reply():
                check_role(await connection.read_response(), connection)
        except redis.exceptions.NoPermissionError:
            continue
        break
    return replies


async def _ask_first(connection: Any, first: Sequence[tuple[str, ...]]) -> list[Any]:
    """Return the replies to commands sent in one write, None for error replies."""
    if not first:
        return []
    await _send(connection, first)
    return [await _reply_or_none(connection) for _ in first]


async def _send(connection: Any, commands: Sequence[tuple[str, ...]]) -> None:
    packed = connection.pack_commands(commands)
    await connection.send_packed_command(packed, check_health=False)


async def _reply_or_none(connection: Any) -> Any:
    """Return the next reply; None for an error reply."""
    try:
        with reading_reply():
            return await connection.read_response()
    except (redis.ResponseError, redis.BusyLoadingError):
        return None
