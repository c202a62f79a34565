"""Opens redis-py connections: redis-py's own handshake, then a name and ``ROLE``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cachemesh.core.connection_names import full_name
from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.names import Address
from cachemesh.transport import redis_py
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
    return {
        **template.connection_kwargs,
        **redis_py.ASYNC_OPTIONS,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": Handshake(custom, role, client_id).run,
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
    """

    def __init__(
        self,
        custom: Callable[[Any], Any] | None,
        role: str | None,
        client_id: Callable[[], str | None],
    ) -> None:
        self._custom = custom
        self._role = role
        self._client_id = client_id

    async def run(self, connection: Any) -> None:
        """Log in, name the connection, then check the role.

        Raises:
            WrongRoleError: the instance is no master and should be one.
        """
        with hooks_may_fail():
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
        if self._role is not None:
            await require_master(connection, name)
        elif name is not None:
            await _send(connection, [("CLIENT", "SETNAME", name)])
            await _reply_or_none(connection)


async def require_master(connection: Any, name: str | None = None) -> None:
    """Ask an instance for its role, over a redis-py connection.

    Args:
        name: for the connection, set in the same write; an ACL may deny that, and nothing else
            depends on it. None sets none.

    Raises:
        WrongRoleError: the instance is no master.
        redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse: no role was told.
    """
    for question in ROLE_QUESTIONS:
        naming = [] if name is None else [("CLIENT", "SETNAME", name)]
        await _send(connection, [*naming, (question,)])
        if naming:
            name = None
            await _reply_or_none(connection)
        try:
            with reading_reply():
                check_role(await connection.read_response(), connection)
        except redis.exceptions.NoPermissionError:
            continue
        return


async def _send(connection: Any, commands: Sequence[tuple[str, ...]]) -> None:
    packed = connection.pack_commands(commands)
    await connection.send_packed_command(packed, check_health=False)


async def _reply_or_none(connection: Any) -> Any:
    """Return the next reply; None for an error reply."""
    try:
        with reading_reply():
            return await connection.read_response()
    except redis.ResponseError:
        return None
