"""CacheMesh: a `redis.Redis` over many shards, with no proxy in the data path."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import redis
from redis.client import EMPTY_RESPONSE, NEVER_DECODE

from cachemesh._client.base import (
    ENDS_LINK,
    MeshBase,
    may_be_missed,
    refuse_monitor,
    refuse_push_handler,
)
from cachemesh._client.pipelining import for_callback
from cachemesh.core.commands.blocking import block_seconds, miss_pause
from cachemesh.core.commands.spec import FIRST_KEY, Command
from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.placement.keys import SHORT_KEY, key_bytes
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.planning.pipeline import Plans
from cachemesh.core.planning.plan import UnknownCommand, keys_of, plan
from cachemesh.core.planning.split import Plan
from cachemesh.core.planning.unknown_commands import Calls, resolve_all
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import CURSORS
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.sync.pipeline import Pipeline
from cachemesh.sync.pubsub import PubSub
from cachemesh.transport import redis_py
from cachemesh.transport.sync.mesh_pool import MeshPool
from cachemesh.transport.sync.replica_reads import gather_reads, read
from cachemesh.transport.sync.scatter_gather import gather
from cachemesh.transport.sync.shard import ShardClient

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class CacheMesh(MeshBase[ShardClient], redis.Redis):
    """A drop-in for `redis.Redis` that spreads keys over the shards of a pool.

    Make one with `from_url` or `from_env`. Nothing is connected before the first command. Threads
    may share one; after a fork each process makes its own connections.

    Commands with one key go to its shard; MGET, MSET, DEL, UNLINK, EXISTS and TOUCH are split,
    with all shards in flight at once; DBSIZE, FLUSHDB, KEYS and the like ask all shards. Commands
    whose keys are on several shards raise `CrossShardError` before anything is sent.

    Args:
        source: a URL as `from_url` takes, or what `parse_url` made of one.
        options: redis-py's options (``decode_responses``, ``password``, ``ssl``, ...) and those
            of `cachemesh.discovery.url`. ``socket_timeout`` and ``socket_connect_timeout``, where
            given, win over the pool's ``command_timeout`` and ``connect_timeout``. Without effect
            are ``retry``, ``retry_on_error`` and ``health_check_interval``: what is sent again is
            told in `cachemesh.transport.sync.shard.ShardClient.execute`, and idle connections
            are looked at before use. ``max_connections`` bounds connections for WATCH and pub/sub
            alone.

    Raises:
        cachemesh.ConfigurationError: the URL or an option is not valid.
    """

    def __init__(
        self, source: str | MeshUrl, *, parent: CacheMesh | None = None, **options: Any
    ) -> None:
        url = parse_url(source, options) if isinstance(source, str) else source
        single = bool(url.options.get("single_connection_client"))
        redis.Redis.__init__(self, **{**url.options, "single_connection_client": False})
        made = self.connection_pool
        self.connection_pool = MeshPool(made, self._nodes, self._loaded_nodes)
        made.close()
        self._follow(url, parent)
        self._own_connection: Any = None
        if single and len(self.routes.nodes) == 1:
            self._single_connection_client = True
            self.connection = self._own_connection = self.connection_pool.get_connection()

    def _make_node(self, shard: str) -> ShardClient:
        return ShardClient(shard, self.connection_pool, self._follower)

    @property
    def topology(self) -> Topology:
        """What this client routes by now; loads it if this is the first use.

        Raises:
            cachemesh.CacheMeshError, redis.ConnectionError: it cannot be loaded.
        """
        return self._follower.topology()

    def shard_for(self, key: str | bytes) -> str:
        """Name of the shard that owns a key.

        Raises:
            cachemesh.InvalidKeyError: a key Redis cannot hold.
        """
        return self.topology.document.placement.owner(self.key_bytes(key))

    def dbsize_per_shard(self) -> dict[str, int]:
        """Shard name -> number of keys on its master.

        Raises:
            cachemesh.ShardUnavailableError: a shard does not answer.
        """
        nodes = self.routes.nodes
        replies = gather([(node, ("DBSIZE",)) for node in nodes.values()], read_only=True)
        return dict(zip(nodes, replies, strict=True))

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send any command to the shard or shards it concerns; the reply as redis-py gives it.

        Raises:
            cachemesh.CrossShardError: its keys are on several shards.
            cachemesh.ShardUnavailableError: the shard does not answer.
            redis.ResponseError: the server answered with an error.
        """
        routes = self._routes
        if routes is None:
            routes = self._loaded_routes()
        if self.connection is not None and len(routes.nodes) == 1:
            return self._execute_on_connection(self.encoded(args), options)
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
                if self._plain:
                    reply = node.execute(args, FIRST_KEY[name], decode)
                else:
                    reply = self._one(node, args, (encoded,), FIRST_KEY[name], decode)
                callback = dict.get(self.response_callbacks, name)  # in capitals, as the keys are
            else:
                reply = self._execute_planned(args, routes, decode)
                callback = self.response_callbacks.get(name)
        except redis.ResponseError:
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise
        return reply if callback is None else callback(reply, **for_callback(options))

    def _execute_planned(
        self, args: tuple[Any, ...], routes: Routes[ShardClient], decode: bool
    ) -> Any:
        try:
            planned = plan(args, routes.placement, key_bytes, self.registry, self.master_of)
        except UnknownCommand:
            planned = self.plans_of([args], routes)[id(args)]
        command = planned.command
        requests = [(routes.nodes[r.shard], r.args) for r in planned.requests]
        if len(requests) == 1:
            node, words = requests[0]
            patience = block_seconds(command.name, words)
            try:
                return planned.merge([self._one_planned(command, node, words, decode, patience)])
            finally:
                if command.name in ENDS_LINK:
                    node.drop_links()
        if self._plain:
            return planned.merge(gather(requests, command.read_only, decode, planned.takes_errors))
        return planned.merge(self._several(planned, requests, decode))

    def _one_planned(
        self,
        command: Command,
        node: ShardClient,
        words: tuple[Any, ...],
        decode: bool,
        patience: float | None,
    ) -> Any:
        if patience is None:
            if self._plain:
                return node.execute(words, command.read_only, decode)
            keys = () if command.name in CURSORS else keys_of(command, words)
            return self._one(node, words, keys, command.read_only, decode)
        began = time.monotonic()
        try:
            return node.execute_blocking(words, decode, patience)
        except (ShardUnavailableError, redis.ResponseError) as error:
            reply = self._missed(error, node, words, command.read_only)
            time.sleep(miss_pause(patience, time.monotonic() - began))
            return reply
        finally:
            if self._reads_replicas and not command.read_only:
                node.wrote(keys_of(command, words), time.monotonic())

    def _one(
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
                return read(node, args, keys, policy.reading, decode)
            try:
                return node.execute(args, read_only or policy.retry_writes, decode)
            finally:
                if self._reads_replicas and not read_only:
                    node.wrote(keys, time.monotonic())
        except (ShardUnavailableError, redis.ResponseError) as error:
            return self._missed(error, node, args, read_only)

    def _several(
        self, planned: Plan, requests: Sequence[tuple[ShardClient, tuple[Any, ...]]], decode: bool
    ) -> list[Any]:
        """A command for several shards, as the policy says."""
        command, policy = planned.command, self._policy
        if command.read_only and command.specs and policy.reading.uses_replicas:
            reads = [(node, words, keys_of(command, words)) for node, words in requests]
            replies = gather_reads(reads, policy.reading, decode)
        else:
            try:
                how = (command.read_only, decode, True, policy.retry_writes)
                replies = gather(requests, *how)
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

    def plans_of(self, calls: Calls, routes: Routes[ShardClient]) -> Plans:
        """Plans of those calls about which a server has to be asked first.

        Raises:
            cachemesh.ShardUnavailableError: no shard answers.
        """
        asking = resolve_all(calls, routes.placement, self.registry)
        reply: Any = None
        while True:
            try:
                question = asking.send(reply)
            except StopIteration as done:
                plans: Plans = done.value
                return plans
            reply = self._answer(question, routes)

    def _answer(self, question: tuple[Any, ...], routes: Routes[ShardClient]) -> Any:
        """The reply, error or not, of the first shard that gives one."""
        failures = []
        for node in routes.nodes.values():
            try:
                return node.execute(question, True, False)
            except redis.ResponseError as error:
                return error
            except ShardUnavailableError as failure:
                failures.append(failure)
        raise failures[0]

    def _execute_on_connection(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """As redis-py does it, over the one connection that `client` took, or an app gave."""
        execute: Any = super().execute_command  # untyped in redis-py
        with self.single_connection_lock:
            connection = self.connection
            if connection is not self._own_connection:
                return execute(*args, **options)
            (node,) = self.routes.nodes.values()
            if not redis_py.is_ready(connection, node.master):
                connection.disconnect()
                if not redis_py.reconnects(connection, node.master):
                    former, connection = connection, self.connection_pool.get_connection()
                    self.connection = self._own_connection = connection
                    self.connection_pool.release(former)
            try:
                return execute(*args, **options)
            except redis.ReadOnlyError:
                connection.disconnect()  # no longer a master; the next command looks for it
                raise
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if type(error) not in (redis.ConnectionError, redis.TimeoutError):
                    raise  # the server's answer
                raise node.unavailable(None, error) from error

    def pipeline(self, transaction: bool | None = None, shard_hint: str | None = None) -> Pipeline:
        """A pipeline: commands queued, sent at once, with replies in order.

        Args:
            transaction: None runs each shard's part in a MULTI of its own; False without MULTI;
                True all or nothing, for keys of one shard only.
            shard_hint: not used; kept for redis-py's signature.
        """
        return Pipeline(self, transaction, shard_hint)

    def pubsub(self, ignore_subscribe_messages: bool = False, **options: Any) -> Any:
        """A `cachemesh.sync.pubsub.PubSub`: channels on the shard they hash to, patterns on all."""
        refuse_push_handler(options)
        return PubSub(self, ignore_subscribe_messages)

    def monitor(self) -> Any:
        """redis-py's monitor, on a pool of one shard.

        Raises:
            cachemesh.UnsupportedCommandError: there are several shards.
        """
        refuse_monitor(self.routes.nodes)
        monitor: Any = super().monitor  # untyped in redis-py
        return monitor()

    def __enter__(self) -> Self:  # untyped in redis-py
        return self

    def close(self) -> None:
        """Close all connections and stop following the pool. A later command starts again.

        Threads that wait in a command that blocks on the server (BLPOP, XREAD) or for messages
        get a `redis.ConnectionError`.
        """
        self._close(leave=True)

    def __del__(self) -> None:
        if hasattr(self, "_follower"):  # else the constructor failed
            self._close(leave=False)

    def _close(self, leave: bool) -> None:
        if self.connection is not None:
            connection, self.connection = self.connection, None
            self.connection_pool.release(connection)
        if self._parent is None:
            self._follower.close(leave)
        self._stop_measuring()
        self.closings += 1
        routes, self._routes = self._routes, None
        if routes is not None:
            for node in routes.nodes.values():
                node.close()

    @property
    def routes(self) -> Routes[ShardClient]:
        """The way to each shard; loads the topology if this is the first use."""
        return self._routes or self._loaded_routes()

    def _loaded_nodes(self) -> Mapping[str, ShardClient]:
        return self.routes.nodes

    def _loaded_routes(self) -> Routes[ShardClient]:
        while True:
            self._follower.tell(self._apply)
            routes = self._routes
            if routes is not None:
                return routes
