"""What both kinds of a CacheMesh's ``connection_pool`` are made of."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from cachemesh.core.errors import UnsupportedCommandError

T = TypeVar("T")


def held_weakly(method: Callable[[], T]) -> Callable[[], T]:
    """Return a function that calls a method without keeping its object alive.

    The client holds the pool; a cycle would keep both until garbage is collected.
    """
    weak = weakref.WeakMethod(method)

    def call() -> T:
        alive = weak()
        if alive is None:
            raise ReferenceError("The CacheMesh of this connection pool is gone")
        return alive()

    return call


def only_shard(shards: Mapping[str, Any]) -> Any:
    """Return the shard of a pool that has one.

    Raises:
        UnsupportedCommandError: there are several shards.
    """
    if len(shards) != 1:
        raise UnsupportedCommandError(
            f"This call needs a connection to one server, and the pool has {len(shards)} shards; "
            "use a command with a key, or redis-py on one instance"
        )
    return next(iter(shards.values()))


def owner_of(pools: Iterable[Any], connection: Any) -> Any:
    """Return the pool that a connection in use is from; None if it is from none of them."""
    return next((pool for pool in pools if connection in pool._in_use_connections), None)
