"""CacheMesh for asyncio: a `redis.asyncio.Redis` over many shards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from cachemesh._client.base import (
    ENDS_LINK,
    MeshBase,
    may_be_missed,
    refuse_monitor,
    refuse_push_handler,
)
from cachemesh._client.pipelining import for_callback
from cachemesh.asyncio.pipeline import Pipeline
from cachemesh.asyncio.pubsub import PubSub
from cachemesh.core.commands.blocking import block_seconds, miss_pause
from cachemesh.core.commands.spec import FIRST_KEY, Command
from cachemesh.core.errors import ConfigurationError, ShardUnavailableError
from cachemesh.core.placement.keys import SHORT_KEY, key_bytes
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.planning.pipeline import Plans
from cachemesh.core.planning.plan import UnknownCommand, keys_of, plan
from cachemesh.core.planning.split import Plan
from cachemesh.core.planning.unknown_commands import Calls, resolve_all
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import CURSORS
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.transport import redis_py
from cachemesh.transport.aio.instance import seen
from cachemesh.transport.aio.mesh_pool import MeshPool
from cachemesh.transport.aio.replica_reads import gather_reads, read
from cachemesh.transport.aio.scatter_gather import gather
from cachemesh.transport.aio.shard import ShardClient
from cachemesh.transport.failures import NOT_SERVED
from cachemesh.transport.redis_py import pack

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class CacheMesh(MeshBase[ShardClient], redis.asyncio.Redis):  # type: ignore[misc]  # redis-py's own clash
    """A drop-in for `redis.asyncio.Redis` that spreads keys over the shards of a pool.

    Commands that tasks issue in the same tick of the event loop leave as one write per shard over
    one shared connection. Otherwise as `cachemesh.CacheMesh`.

    Args:
        source: a URL as `from_url` takes, or what `parse_url` made of one.
        options: as for `cachemesh.CacheMesh`.

    Raises:
        cachemesh.ConfigurationError: the URL or an option is not valid.
    """

    def __init__(
        self, source: str | MeshUrl, *, parent: CacheMesh | None = None, **options: Any
    ) -> None:
        url = parse_url(source, options) if isinstance(source, str) else source
        redis.asyncio.Redis.__init__(self, **url.options)
        self.connection_pool = MeshPool(self.connection_pool, self._nodes, self._loaded_nodes)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loading: asyncio.Task[Topology] | None = None
        self._own_connection: Any = None
        self._follow(url, parent)

    def _make_node(self, shard: str) -> ShardClient:
        assert self._loop is not None  # set before anything is loaded
        return ShardClient(shard, self.connection_pool, self._follower, self._loop)

    async def load(self) -> Topology:
        """The topology of now; the first call loads it. Tasks that ask meanwhile share one attempt.

        Raises:
            cachemesh.ConfigurationError: the client is in use in another event loop.
            cachemesh.CacheMeshError, redis.ConnectionError: it cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        loading = self._loading
        if loading is None or loading.done() or loading.get_loop() is not loop:
            loading = self._loading = loop.create_task(self._load(loop))
            loading.add_done_callback(seen)
        return await asyncio.shield(loading)

    async def _load(self, loop: asyncio.AbstractEventLoop) -> Topology:
        def begin(topology: Topology) -> None:
            former = self._loop
            if former is not loop:
                if former is not None and former.is_running() and self._routes is not None:
                    raise ConfigurationError(
                        "This client is in use in another event loop, which is running; make a "
                        "client for each loop, or close it there first"
                    )
                self._abandon_links()
                self._loop = loop
            self._apply(topology)

        return await loop.run_in_executor(None, self._follower.tell, begin)

    def shard_for(self, key: str | bytes) -> str:
        """Name of the shard that owns a key, by the topology this client has loaded.

        Raises:
            cachemesh.ConfigurationError: nothing is loaded yet; await `load` first.
            cachemesh.InvalidKeyError: a key Redis cannot hold.
        """
        if self._routes is None:
            raise ConfigurationError("No topology is loaded yet; await client.load() first")
        return self._routes.placement.owner(self.key_bytes(key))

    async def dbsize_per_shard(self) -> dict[str, int]:
        """Shard name -> number of keys on its master.

        Raises:
            cachemesh.ShardUnavailableError: a shard does not answer.
        """
        nodes = (await self.routes()).nodes
        replies = await gather([(node, ("DBSIZE",)) for node in nodes.values()], read_only=True)
        return dict(zip(nodes, replies, strict=True))

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send any command to the shard or shards it concerns; the reply as redis-py gives it.

        Raises:
            cachemesh.CrossShardError: its keys are on several shards.
            cachemesh.ShardUnavailableError: the shard does not answer.
            redis.ResponseError: the server answered with an error.
        """
        routes = self._routes  # before the loop, set after it
        if routes is None or self._loop is not asyncio.get_running_loop():
            routes = await self.routes()
            await self.initialize()
        if self.connection is not None and len(routes.nodes) == 1:
            return await self._execute_on_connection(self.encoded(args), options)
        if self._encode is not None:
            args = self.encoded(args)
        name = args[0] if args else ""
        decode = NEVER_DECODE not in options
        try:
            if len(args) > 1 and name in FIRST_KEY:
                key = args[1]
                short = type(key) is str and len(key) < SHORT_KEY
                encoded = key.encode() if short else key_bytes(key)
                node = routes.find(encoded)
                instance = node.instance
                if not self._plain:
                    reply = await self._one(node, args, (encoded,), FIRST_KEY[name], decode)
                elif (
                    instance is None
                    or instance.doubted
                    or (link := instance.link) is None
                    or not link.ready
                ):
                    reply = await node.execute(args, FIRST_KEY[name], decode)
                else:  # as `execute` does, with a coroutine less
                    began = time.monotonic()
                    try:
                        reply = await link.send(pack(args), decode)
                    except NOT_SERVED as error:
                        again = (args, FIRST_KEY[name], decode, began, instance, error)
                        reply = await node.again(*again)
                callback = dict.get(self.response_callbacks, name)  # in capitals, as the keys are
            else:
                reply = await self._execute_planned(args, routes, decode)
                callback = self.response_callbacks.get(name)
        except redis.ResponseError:
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise
        if callback is None:
            return reply
        result = callback(reply, **for_callback(options))
        return await result if asyncio.iscoroutine(result) else result

    async def _execute_planned(
        self, args: tuple[Any, ...], routes: Routes[ShardClient], decode: bool
    ) -> Any:
        try:
            planned = plan(args, routes.placement, key_bytes, self.registry, self.master_of)
        except UnknownCommand:
            planned = (await self.plans_of([args], routes))[id(args)]
        command = planned.command
        requests = [(routes.nodes[r.shard], r.args) for r in planned.requests]
        if len(requests) == 1:
            node, words = requests[0]
            patience = block_seconds(command.name, words)
            if command.name in ENDS_LINK:
                patience = 0.0  # on another connection than that which tasks share
            try:
                reply = await self._one_planned(command, node, words, decode, patience)
            finally:
                if command.name in ENDS_LINK:
                    node.drop_links()
            return planned.merge([reply])
        if self._plain:
            replies = await gather(requests, command.read_only, decode, planned.takes_errors)
            return planned.merge(replies)
        return planned.merge(await self._several(planned, requests, decode))

    async def _one_planned(
        self,
        command: Command,
        node: ShardClient,
        words: tuple[Any, ...],
        decode: bool,
        patience: float | None,
    ) -> Any:
        if patience is None:
            if self._plain:
                return await node.execute(words, command.read_only, decode)
            keys = () if command.name in CURSORS else keys_of(command, words)
            return await self._one(node, words, keys, command.read_only, decode)
        began = time.monotonic()
        try:
            return await node.execute_blocking(words, decode, patience)
        except (ShardUnavailableError, redis.ResponseError) as error:
            reply = self._missed(error, node, words, command.read_only)
            await asyncio.sleep(miss_pause(patience, time.monotonic() - began))
            return reply
        finally:
            if self._reads_replicas and not command.read_only:
                node.wrote(keys_of(command, words), time.monotonic())

    async def _one(
        self,
        node: ShardClient,
        args: tuple[Any, ...],
        keys: Sequence[bytes],
        read_only: bool,
        decode: bool,
    ) -> Any:
        """A command for one shard, as the policy says."""
        policy = self._policy
        try:
            if read_only and keys and policy.reading.uses_replicas and args[0] not in CURSORS:
                return await read(node, args, keys, policy.reading, decode)
            try:
                return await node.execute(args, read_only or policy.retry_writes, decode)
            finally:
                if self._reads_replicas and not read_only:
                    node.wrote(keys, time.monotonic())
        except (ShardUnavailableError, redis.ResponseError) as error:
            return self._missed(error, node, args, read_only)

    async def _several(
        self, planned: Plan, requests: Sequence[tuple[ShardClient, tuple[Any, ...]]], decode: bool
    ) -> list[Any]:
        """A command for several shards, as the policy says."""
        command, policy = planned.command, self._policy
        if command.read_only and command.specs and policy.reading.uses_replicas:
            reads = [(node, words, keys_of(command, words)) for node, words in requests]
            replies = await gather_reads(reads, policy.reading, decode)
        else:
            try:
                how = (command.read_only, decode, True, policy.retry_writes)
                replies = await gather(requests, *how)
            finally:
                if self._reads_replicas and not command.read_only:
                    for node, words in requests:
                        node.wrote(keys_of(command, words), time.monotonic())
        for at, (reply, (node, words)) in enumerate(zip(replies, requests, strict=True)):
            if policy.misses and command.specs and may_be_missed(reply):
                replies[at] = self._missed(reply, node, words, command.read_only)
            elif isinstance(reply, Exception) and not planned.takes_errors:
                raise reply
        return replies

    async def plans_of(self, calls: Calls, routes: Routes[ShardClient]) -> Plans:
        """As `cachemesh.CacheMesh.plans_of`."""
        asking = resolve_all(calls, routes.placement, self.registry)
        reply: Any = None
        while True:
            try:
                question = asking.send(reply)
            except StopIteration as done:
                plans: Plans = done.value
                return plans
            reply = await self._answer(question, routes)

    async def _answer(self, question: tuple[Any, ...], routes: Routes[ShardClient]) -> Any:
        """The reply, error or not, of the first shard that gives one."""
        failures = []
        for node in routes.nodes.values():
            try:
                return await node.execute(question, True, False)
            except redis.ResponseError as error:
                return error
            except ShardUnavailableError as failure:
                failures.append(failure)
        raise failures[0]

    async def routes(self) -> Routes[ShardClient]:
        """The way to each shard; loads the topology if this is the first use in this loop."""
        while True:
            routes = self._routes  # before the loop, set after it
            if routes is not None and self._loop is asyncio.get_running_loop():
                return routes
            await self.load()  # sets the routes before it returns

    async def _loaded_nodes(self) -> Mapping[str, ShardClient]:
        return (await self.routes()).nodes

    async def initialize(self) -> Self:
        """Take the connection of a single-connection client; else nothing to do."""
        if self.single_connection_client and len((await self.routes()).nodes) == 1:
            await redis.asyncio.Redis.initialize(self)
            self._own_connection = self.connection
        return self

    async def _execute_on_connection(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """As redis-py does it, over the one connection that `client` took, or an app gave."""
        execute: Any = super().execute_command  # untyped in redis-py
        pool: Any = self.connection_pool
        (node,) = (await self.routes()).nodes.values()
        async with self._single_conn_lock:
            connection: Any = self.connection
            own = connection is not None and connection is self._own_connection
            if own and not redis_py.is_ready_async(connection, node.master):
                await connection.disconnect()
                if not await redis_py.reconnects_async(connection, node.master):
                    former, connection = connection, await pool.get_connection()
                    self.connection = self._own_connection = connection
                    await pool.release(former)
        try:
            return await execute(*args, **options)
        except redis.ReadOnlyError:
            if own:
                await connection.disconnect()  # no longer a master; the next command looks for it
            raise
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if not own or type(error) not in (redis.ConnectionError, redis.TimeoutError):
                raise  # the server's answer
            raise node.unavailable(None, error) from error

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> Pipeline:
        """A pipeline; see `cachemesh.CacheMesh.pipeline`."""
        return Pipeline(self, transaction, shard_hint)

    def pubsub(self, ignore_subscribe_messages: bool = False, **options: Any) -> Any:
        """A `cachemesh.asyncio.pubsub.PubSub`."""
        refuse_push_handler(options)
        return PubSub(self, ignore_subscribe_messages)

    def monitor(self) -> Any:
        """redis-py's monitor, on a pool of one shard.

        Raises:
            cachemesh.UnsupportedCommandError: there are several shards; by the time it connects.
        """
        refuse_monitor(self._nodes())
        return super().monitor()

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections and stop following the pool. A later command starts again.

        Tasks that wait in a command that blocks on the server (BLPOP, XREAD) or for messages get a
        `redis.ConnectionError`.
        """
        loop = asyncio.get_running_loop()
        if self.connection is not None:
            connection, self.connection = self.connection, None
            await self.connection_pool.release(connection)
        self._stop_measuring()
        if self._parent is None:
            await loop.run_in_executor(None, self._follower.close)
        if self._loop is not loop:
            self._abandon_links()
        self.closings += 1
        routes, self._routes = self._routes, None
        if routes is not None:
            for node in routes.nodes.values():
                await node.close()
        self._loop = None

    def _abandon_links(self) -> None:
        routes, self._routes = self._routes, None
        if routes is not None:
            for node in routes.nodes.values():
                node.abandon()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._loop = None

    def __del__(self, *_: Any) -> None:
        if not hasattr(self, "_follower"):
            return  # the constructor failed
        super().__del__()  # warns of a single connection left open
        if self._parent is None:
            self._follower.close(leave=False)
        self._abandon_links()
