"""CacheMesh: a `redis.asyncio.Redis` over many shards, with no proxy in the data path."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any  # asyncio

# sync: from typing import TYPE_CHECKING, Any
import redis
import redis.asyncio
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from cachemesh._client.base import refuse_monitor, refuse_push_handler
from cachemesh._client.pipelining import for_callback
from cachemesh.asyncio.core import Core
from cachemesh.asyncio.pipeline import Pipeline
from cachemesh.asyncio.planned_commands import PlannedCommands
from cachemesh.asyncio.pubsub import PubSub
from cachemesh.core.commands.spec import FIRST_KEY
from cachemesh.core.errors import FencedError, ShardUnavailableError
from cachemesh.core.placement.keys import SHORT_KEY, key_bytes
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.planning.stuck_keys import STUCK_ERRORS
from cachemesh.core.pool.topology import Topology
from cachemesh.core.rerouting import (
    ANEW,
    KeyMovingError,
    PartlyRetiredError,
    RerouteError,
    ShardRetiredError,
)
from cachemesh.core.resilience.error_classification import NOT_SERVED  # asyncio
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.transport.aio.mesh_pool import MeshPool
from cachemesh.transport.aio.scatter_gather import gather
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.lease_clock import by_monotonic  # asyncio

# sync: from cachemesh.transport.lease_clock import clock
from cachemesh.transport.read_deadline import in_all
from cachemesh.transport.redis_py import BROKEN, pack

# sync: if TYPE_CHECKING:
# sync:     from typing_extensions import Self  # in typing from Python 3.11 on


_exactly = dict.get  # a look-up that does not fold case, unlike that of redis-py's callbacks


class CacheMesh(PlannedCommands, redis.asyncio.Redis):  # type: ignore[misc]  # redis-py's own clash
    """A drop-in for `redis.asyncio.Redis` that spreads keys over the shards of a pool.

    Make one with `from_url` or `from_env`. Nothing is connected before the first command. Tasks
    may share one; after a fork each process makes its own connections.

    Commands with one key go to its shard; MGET, MSET, DEL, UNLINK, EXISTS and TOUCH are split,
    with all shards in flight at once; DBSIZE, FLUSHDB, KEYS and the like ask all shards. Commands
    whose keys are on several shards raise `CrossShardError` before anything is sent.

    Args:
        source: a URL as `from_url` takes, or what `parse_url` made of one.
        parent: a client to follow the pool together with; the connections are this one's own.
        options: redis-py's options (``decode_responses``, ``password``, ``ssl``, ...) and those
            of `cachemesh.discovery.url`. ``socket_timeout`` and ``socket_connect_timeout``, where
            given, win over the pool's ``command_timeout`` and ``connect_timeout``. Without effect
            are ``retry``, ``retry_on_error`` and ``health_check_interval``: what is sent again is
            told in `cachemesh.transport.aio.shard.ShardClient.execute`, and idle connections
            are looked at before use. ``max_connections`` bounds connections for WATCH and pub/sub
            alone.

    Raises:
        cachemesh.ConfigurationError: the URL or an option is not valid.
    """

    _core: Core

    def __init__(
        self, source: str | MeshUrl, *, parent: CacheMesh | None = None, **options: Any
    ) -> None:
        url = parse_url(source, options) if isinstance(source, str) else source
        core = self._core = Core(url, None if parent is None else parent._core)
        redis.asyncio.Redis.__init__(self, **url.options)  # asyncio
        # sync: redis.Redis.__init__(self, **{**url.options, "single_connection_client": False})
        made = self.connection_pool
        core.pool = self.connection_pool = MeshPool(made, core)
        self._call_options = {}
        self._show_own_names()
        # sync: made.close()
        # sync: single = url.options.get("single_connection_client")
        # sync: if single and len(self.route_table().shards) == 1:
        # sync:     self._single_connection_client = True
        # sync:     core.connection = core.own_connection = self.connection_pool.get_connection()

    async def load(self) -> Topology:
        """Return the topology of now; the first use loads it.

        Raises:
            cachemesh.CacheMeshError, redis.ConnectionError: the topology cannot be loaded.
        """
        return await self._core.load()

    async def route_table(self) -> RouteTable[ShardClient]:
        """Return the route table; the first use loads the topology. Raises as `load`."""
        return await self._core.loaded()

    async def dbsize_per_shard(self) -> dict[str, int]:
        """Return the number of keys on each shard's master, by the shard's name.

        Raises:
            cachemesh.ShardUnavailableError: a shard does not answer.
        """
        while True:
            shards = (await self.route_table()).shards
            requests = [(shard, ("DBSIZE",)) for shard in shards.values()]
            try:
                return dict(zip(shards, await gather(requests, read_only=True), strict=True))
            except PartlyRetiredError:
                continue  # a resize has begun; the route table is another by now

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send any command to the shard or shards it concerns; return the reply as redis-py does.

        Raises:
            cachemesh.CrossShardError: its keys are on several shards.
            cachemesh.ShardUnavailableError: the shard does not answer.
            redis.ResponseError: the server answered with an error.
        """
        core = self._core
        try:
            name, key = args[0], args[1]
        except IndexError:
            return await self._execute_any(args, options)
        read_only = FIRST_KEY.get(name)
        if read_only is None or not core.usual or self._call_options:
            return await self._execute_any(args, options)
        route_table = core.route_table
        # sync: asked = clock()
        # sync: if route_table is None or asked > core.lease.until:
        if route_table is None or core.loop is not asyncio.get_running_loop():  # asyncio
            return await self._execute_any(args, options)
        try:
            short = type(key) is str and len(key) < SHORT_KEY
            shard = route_table.find(key.encode() if short else key_bytes(key))
            decode = not options or NEVER_DECODE not in options
            # sync: reply = shard.execute(args, read_only, decode, asked)
            if True:  # asyncio: as `ShardClient.execute` does, with a coroutine less
                instance, asked = shard.instance, 0.0
                connection = None if instance is None or instance.doubted else instance.connection
                if connection is not None and connection.ready:
                    payload = pack(args)  # before the lease is asked for: it may fail
                    asked = connection.asked or connection.ask_under(core.lease)
                if connection is None or not asked:
                    payload = b""  # who waits holds no copy of what it sends
                    shard = (await core.loaded()).find(key_bytes(key))
                    reply = await shard.execute(args, read_only, decode)
                else:
                    try:
                        reply = await connection.send(payload, decode)
                    except NOT_SERVED as error:
                        began = by_monotonic(asked)
                        reply = await shard.again(args, read_only, decode, began, instance, error)
        except (RerouteError, redis.ResponseError, FencedError) as error:
            return await self._outcome_of(error, args, options)
        callback = _exactly(self.response_callbacks, name)  # in capitals, as the keys are
        if callback is None:
            return reply
        # sync: return callback(reply, **for_callback(options)) if options else callback(reply)
        result = callback(reply, **for_callback(options))  # asyncio
        return await result if asyncio.iscoroutine(result) else result  # asyncio

    async def _execute_any(
        self, args: tuple[Any, ...], options: dict[str, Any], deadline: float | None = None
    ) -> Any:
        """Execute a command of any kind, on a client with any options.

        Args:
            args, options: of the command.
            deadline: as in `_rerouted`.
        """
        core = self._core
        if True:  # asyncio: a client with one connection takes it now
            if core.route_table is None or core.loop is not asyncio.get_running_loop():
                await self.initialize()
        route_table = await core.loaded()
        if core.connection is not None and len(route_table.shards) == 1:
            return await self._execute_on_connection(self._named(self.encoded(args)), options)
        if core.encode is not None:
            args = self.encoded(args)
        name = args[0] if args else ""
        decode = NEVER_DECODE not in options
        try:
            if len(args) > 1 and name in FIRST_KEY:
                key = key_bytes(args[1])
                reply = await self._one(
                    route_table.find(key), args, (key,), FIRST_KEY[name], decode
                )
            else:
                reply = await self._execute_planned(args, route_table, decode)
        except (RerouteError, redis.ResponseError, FencedError) as error:
            return await self._outcome_of(error, args, options, deadline)
        return await self._as_given(name, reply, options)

    async def _outcome_of(
        self,
        error: Exception,
        args: tuple[Any, ...],
        options: dict[str, Any],
        deadline: float | None = None,
    ) -> Any:
        """Return what a command that ended with an error returns; raise the error otherwise.

        A command that was routed by a document before a resize was sent nowhere, and goes to where
        its key is by now. So does one that a shard has refused because of the version which this
        client acted on, once a later one has come.
        """
        if isinstance(error, RerouteError):
            return await self._rerouted(error, args, options, deadline)
        if isinstance(error, FencedError):
            if args[0] in FIRST_KEY and self._core.acts_on(error.wanted):
                return await self.execute_command(*args, **options)
        elif EMPTY_RESPONSE in options:
            return options[EMPTY_RESPONSE]
        raise error

    async def _rerouted(
        self,
        error: RerouteError,
        args: tuple[Any, ...],
        options: dict[str, Any],
        deadline: float | None,
    ) -> Any:
        """Return what a command returns that could not be sent at once.

        A read of one key is answered by the shard that has the key. Any other command waits until
        its keys are where they move to. Of many keys, as the policy says, those alone are misses
        that do not get there.

        Args:
            error: why the command was not sent.
            args, options: of the command.
            deadline: until when it may wait for that, by `time.monotonic`; None if it has not had
                to wait yet.
        """
        reply: Any = ANEW
        if deadline is None or self._may_block(args):  # which may have taken its time since
            deadline = self._core.wait_until()
        try:
            if isinstance(error, KeyMovingError) and FIRST_KEY.get(args[0]):
                decode = NEVER_DECODE not in options
                reply = await self._core.read_moving(error, args, decode, deadline)
            else:
                await self._core.await_route(error, deadline, self._policy.misses)
        except (redis.ResponseError, ShardUnavailableError) as failure:
            if isinstance(failure, FencedError) or not isinstance(failure, STUCK_ERRORS):
                return await self._outcome_of(failure, args, options, deadline)
            reply = await self._in_part(failure, args, NEVER_DECODE not in options)
        if reply is ANEW:
            return await self._execute_any(args, options, deadline)
        return await self._as_given(args[0], reply, options)

    async def _as_given(self, name: Any, reply: Any, options: dict[str, Any]) -> Any:
        """Return a reply as redis-py gives it to the app."""
        callback = self.response_callbacks.get(name)
        if callback is None:
            return reply
        # sync: return callback(reply, **for_callback(options))
        result = callback(reply, **for_callback(options))  # asyncio
        return await result if asyncio.iscoroutine(result) else result  # asyncio

    if True:  # asyncio

        async def initialize(self) -> CacheMesh:  # redis-py's method
            """Take the connection of a single-connection client; else nothing to do."""
            if self.single_connection_client and len((await self.route_table()).shards) == 1:
                await redis.asyncio.Redis.initialize(self)
                self._core.own_connection = self._core.connection
            return self

    async def _execute_on_connection(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Execute as redis-py does, over the connection that `client` took, or that the app set."""
        if self._core.holds:  # whatever the key: what is sent here cannot be routed anew
            await self._core.hold_over(self._core.wait_until())
            return await self.execute_command(*args, **options)  # there may be more shards now
        shard, *others = (await self.route_table()).shards.values()
        try:
            if others:
                raise ShardRetiredError
            # What blocks gets nothing once keys move; a resize does not wait for that.
            with nullcontext() if self._may_block(args) else shard.in_use():
                return await self._execute_on(shard, args, options)
        except ShardRetiredError:  # nothing was sent
            return await self.execute_command(*args, **options)

    async def _execute_on(
        self, shard: ShardClient, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        async with self._single_conn_lock:
            own = await self._core.take_connection(shard)
            # sync: return self._execute_over(own, shard, args, options)
        return await self._execute_over(own, shard, args, options)  # asyncio

    async def _execute_over(
        self, own: Any, shard: ShardClient, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        execute: Any = super().execute_command  # untyped in redis-py
        try:
            if own is None:
                return await execute(*args, **options)
            with in_all(own, shard.limit):
                return await execute(*args, **options)
        except redis.ReadOnlyError:
            if own is not None:
                await own.disconnect()  # no longer a master; the next command looks for it
            raise
        except BROKEN as error:
            if own is None or type(error) not in BROKEN:
                raise  # the server's answer
            raise shard.unavailable(None, error) from error

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline: commands queued, sent at once, with replies in order.

        Args:
            transaction: None runs each shard's part in a MULTI of its own; False without MULTI;
                True all or nothing, for keys of one shard only.
            shard_hint: not used; kept for redis-py's signature.
        """
        return Pipeline(self, transaction, shard_hint)

    def pubsub(self, ignore_subscribe_messages: bool = False, **options: Any) -> Any:
        """Return a `PubSub`: channels on the shard they hash to, patterns on all shards."""
        refuse_push_handler(options)
        return PubSub(self, ignore_subscribe_messages)

    def monitor(self) -> Any:
        """Return redis-py's monitor, on a pool of one shard.

        Raises:
            cachemesh.UnsupportedCommandError: there are several shards. Where none is known yet,
                entering the monitor raises that.
        """
        # sync: self.route_table()
        refuse_monitor(self._core.shards())
        monitor: Any = super().monitor  # untyped in redis-py
        return monitor()

    # sync: def __enter__(self) -> Self:  # untyped in redis-py
    # sync:     return self

    if True:  # asyncio

        async def aclose(self, close_connection_pool: bool | None = None) -> None:
            """Close all connections and stop following the pool. A later command starts again.

            A client that `with_options` made leaves all open. Tasks that wait in a command that
            blocks on the server (BLPOP, XREAD) or for messages get a `redis.ConnectionError`.
            """
            if self._owns_core:
                await self._core.close()

    # sync: def close(self) -> None:
    # sync:     """Close all connections and stop following the pool. A later command starts again.
    # sync:
    # sync:     A client that `with_options` made leaves all open. Threads that wait in a command
    # sync:     that blocks on the server (BLPOP, XREAD) or for messages get a
    # sync:     `redis.ConnectionError`.
    # sync:     """
    # sync:     if self._owns_core:
    # sync:         self._core.close()

    def __del__(self, *_: Any) -> None:
        """Leave closing to the core, which others may hold yet; redis-py's method would close."""
        if True:  # asyncio: redis-py's warns of a single connection left open
            if hasattr(self, "_core") and self._owns_core:
                super().__del__()
