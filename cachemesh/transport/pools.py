"""redis-py connections to one shard's master, for what holds a connection: WATCH and pub/sub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
from redis.connection import ConnectionPool

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.names import Address
from cachemesh.transport import adapter


class ShardPool(ConnectionPool):
    """A redis-py pool whose connections go to whoever is master of the shard, ``ROLE`` checked.

    Args:
        shard: its name.
        template: connection options.
        locate: the master's address; asks Sentinel anew when told which one did not serve.
    """

    def __init__(
        self,
        shard: str,
        template: ConnectionPool,
        locate: Callable[[Address | None], Address | None],
    ) -> None:
        self._shard = shard
        self._locate = locate
        super().__init__(
            connection_class=template.connection_class,
            max_connections=template.max_connections,
            **adapter.pool_options(template),
        )

    def __repr__(self) -> str:
        return f"<ShardPool {self._shard}>"

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """A connection to the master.

        Raises:
            ShardUnavailableError: it does not answer.
        """
        address = self._locate(None)
        for last_try in (False, True):
            self._point_to(address)
            try:
                return super().get_connection(*args, **kwargs)
            except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError) as error:
                if isinstance(error, redis.AuthenticationError):
                    raise
                found = self._locate(address)
                if last_try or found is None or found == address:
                    raise ShardUnavailableError(
                        f"Shard {self._shard!r} at {address}: {error}; "
                        f"see: cachemesh shard show {self._shard}"
                    ) from error
                address = found
        raise AssertionError("unreachable")

    def _point_to(self, address: Address | None) -> None:
        if address is None:
            raise ShardUnavailableError(
                f"Shard {self._shard!r}: no Sentinel knows its master; "
                f"see: cachemesh shard show {self._shard}"
            )
        kwargs = self.connection_kwargs
        if (kwargs.get("host"), kwargs.get("port")) != address:
            kwargs.update(host=address.host, port=address.port)
            self.disconnect(inuse_connections=False)
