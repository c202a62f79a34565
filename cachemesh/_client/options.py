"""A client seen with other habits: what `with_options` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import redis.asyncio

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.policy import Policy, check_options
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import Reading

PER_CALL = ("retry_writes", "on_error", "read_from", "max_lag")


class View:
    """Goes before a client's class. Has all of the client's state, and a policy of its own.

    Both have one ``__dict__``, so whatever changes in the client has changed here.
    """

    __slots__ = ("_base", "_made", "_options", "_owns", "_root")

    _root: Any
    _owns: bool
    _options: Mapping[str, Any]
    _base: Policy | None
    _made: Policy

    @property
    def _policy(self) -> Policy:
        return self.habits()

    def habits(self) -> Policy:
        """What it goes by: the client's policy of now, with the options of this view."""
        base: Policy = self._root._policy
        if base is not self._base:
            self._made, self._base = _changed(base, self._options), base
            if self._made.reading.uses_replicas:
                self._root._read_replicas(self._made.reading)
        return self._made

    @property
    def _plain(self) -> bool:
        return False

    def __del__(self) -> None:
        """The client is not done with."""

    def _apply(self, topology: Topology) -> None:
        self._root._apply(topology)  # by the client's own habits, should this be its first use

    def __copy__(self) -> Any:
        return view_of(self._root.__copy__(), self._options, owns=True)

    def client(self) -> Any:
        """As the client's own, with the same habits."""
        return view_of(self._root.client(), self._options, owns=True)


class SyncView(View):
    """A view of a `cachemesh.CacheMesh`."""

    __slots__ = ()

    def close(self) -> None:
        """Leave the client open, which `with_options` was called on and others use.

        A view that a copy or ``client()`` of another view gave has its client to itself. That
        client is closed.
        """
        if self._owns:
            self._root.close()


class AsyncView(View):
    """A view of a `cachemesh.asyncio.CacheMesh`."""

    __slots__ = ()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """As `SyncView.close`."""
        if self._owns:
            await self._root.aclose(close_connection_pool)


def view_of(client: Any, options: Mapping[str, Any], owns: bool = False) -> Any:
    """A client with other habits.

    Args:
        owns: nobody else has the client, so closing the view closes the client.

    Raises:
        ConfigurationError: an option that is none of a call's, or a value that it does not take.
    """
    for name in options:
        if name not in PER_CALL:
            raise ConfigurationError(
                f"with_options takes {', '.join(PER_CALL)}, not {name!r:.60}; others are options "
                "of the client"
            )
    checked = check_options(options)
    if isinstance(client, View):
        client, checked = client._root, {**client._options, **checked}
    client_class: Any = type(client)
    view_class = _view_class(client_class)
    view = view_class.__new__(view_class)
    view.__dict__ = client.__dict__
    view._root, view._options, view._base, view._owns = client, checked, None, owns
    view.habits()  # which begins to measure replicas before the first read
    return view


@cache
def _view_class(client_class: type) -> Any:
    body = {"__slots__": (), "__module__": client_class.__module__, "__doc__": client_class.__doc__}
    view = AsyncView if issubclass(client_class, redis.asyncio.Redis) else SyncView
    return type(client_class.__name__, (view, client_class), body)


def _changed(policy: Policy, options: Mapping[str, Any]) -> Policy:
    reading = policy.reading
    return replace(
        policy,
        retry_writes=options.get("retry_writes", policy.retry_writes),
        misses=options["on_error"] == "miss" if "on_error" in options else policy.misses,
        reading=Reading(
            options.get("read_from", reading.read_from), options.get("max_lag", reading.max_lag)
        ),
    )
