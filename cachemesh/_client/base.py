"""What the sync and the asyncio client share: everything but moving bytes."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import redis

from cachemesh._client.options import view_of
from cachemesh._client.pipelining import Part, discarded
from cachemesh.core.commands.encoding import text_encoder
from cachemesh.core.commands.registry import Registry
from cachemesh.core.commands.spec import Args
from cachemesh.core.errors import ConfigurationError, ShardUnavailableError, UnsupportedCommandError
from cachemesh.core.names import Address
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.placement.route_table import Routes
from cachemesh.core.planning.miss_replies import NO_MISS, miss
from cachemesh.core.policy import Policy
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.circuit_breaker import ShardHealth
from cachemesh.core.resilience.retry import lacks_replicas
from cachemesh.discovery.membership import Membership
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.transport.redis_py import connect, pack, speaks_resp3
from cachemesh.transport.replication_probe import Prober
from cachemesh.transport.shard_base import ShardBase

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


N = TypeVar("N", bound=ShardBase[Any])
ENDS_LINK = frozenset({"CLIENT REPLY", "HELLO", "QUIT", "RESET"})
"""Commands after which a connection speaks in another way, or not at all: none is used again."""
_NOT_FOR_PROBES = ("redis_connect_func", "retry", "single_connection_client")


class MeshBase(Generic[N]):
    """A client's identity and its routes, kept current by a `Membership`.

    Attributes:
        registry: the commands it knows.
        closings: how often it was closed.
    """

    registry: Registry

    _url: MeshUrl
    _routes: Routes[N] | None
    _follower: Membership
    _parent: MeshBase[N] | None
    _encode: Callable[[Any], Any] | None
    _mates: dict[int, weakref.ref[MeshBase[N]]]
    response_callbacks: Any  # redis-py's, which folds case at every look-up

    def _follow(self, url: MeshUrl, parent: MeshBase[N] | None) -> None:
        """Called once by the constructor; with a parent, both follow the pool together."""
        self._url = url
        self.registry = Registry()
        self.closings = 0
        self._masters: Mapping[str, Address] = {}
        self._routes = None
        self._reads_replicas = False
        self._prober: Prober | None = None
        self._parent = parent
        if parent is None:
            mates = self._mates = {}
            self._follower = Membership(url, _teller(mates))
        else:
            mates = self._mates = parent._mates
            self._follower = parent._follower
        self._set_policy(Policy.of(self._own_options, {}))
        self._encode = text_encoder(url.options)
        key = id(self)
        mates[key] = weakref.ref(self, lambda _: mates.pop(key, None))
        _clients.add(self)

    def client(self) -> Self:
        """A client with a connection to itself, as redis-py's; for one thread or task.

        On a pool of one shard all of its commands go over that one connection. It follows the
        pool together with this client, and closing it leaves this one open.
        """
        options = {**self._url.options, "single_connection_client": True}
        url = replace(self._url, options=options)
        return type(self)(url, parent=self)  # type: ignore[call-arg]  # both clients take it

    def __copy__(self) -> Self:
        """Another client of the same pool, with connections of its own."""
        twin = type(self)(self._url, parent=self)  # type: ignore[call-arg]
        twin.response_callbacks.update(self.response_callbacks)
        return twin

    @classmethod
    def from_pool(cls, connection_pool: object) -> Self:
        """Refused: redis-py's pools have one server, and a CacheMesh connects to each shard.

        Raises:
            cachemesh.ConfigurationError: always.
        """
        raise ConfigurationError(
            "A CacheMesh makes its own connections to each shard; use CacheMesh.from_url"
        )

    def _nodes(self) -> Mapping[str, N]:
        """The nodes known so far."""
        return {} if self._routes is None else self._routes.nodes

    def _make_node(self, shard: str) -> N:
        raise NotImplementedError

    @property
    def encodes(self) -> bool:
        """Whether text in arguments is not to be plain UTF-8; then `encoded` makes it bytes."""
        return self._encode is not None

    def encoded(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments of a command with text as bytes, where it is not to be plain UTF-8."""
        encode = self._encode
        return args if encode is None else (*args[:1], *map(encode, args[1:]))

    def key_bytes(self, key: Any) -> bytes:
        """A key, or a channel's name, as the bytes that this client sends.

        Raises:
            cachemesh.InvalidKeyError: a key Redis cannot hold.
        """
        (_, encoded) = self.encoded(("", key))
        return key_bytes(encoded)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """A client for the pool that a URL names.

        ``cachemesh://meta1:7700,meta2:7700/POOL`` asks metaservers,
        ``cachemesh+sentinel://s1:26379,s2:26379/POOL`` asks Sentinels alone,
        ``cachemesh+file:///path/pool.json`` reads a file. Options may stand in the query string.

        Raises:
            cachemesh.ConfigurationError: the URL or an option is not valid.
        """
        return cls(url, **options)  # type: ignore[call-arg]  # both clients take it

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """A client from CACHEMESH_URL and CACHEMESH_TOKEN or CACHEMESH_TOKEN_FILE.

        Raises:
            cachemesh.ConfigurationError: CACHEMESH_URL is not set, or not valid.
        """
        url = parse_url(None, options, os.environ if environ is None else environ)
        return cls(url)  # type: ignore[call-arg]

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__}({self._url.shown})>"

    def _apply(self, topology: Topology) -> None:
        """Route by another topology. Calls come one at a time, from the follower."""
        document = topology.document
        before = self._routes.nodes if self._routes is not None else {}
        self._set_policy(Policy.of(self._own_options, document.settings))
        nodes = {}
        for name in document.placement.names:
            node = before.get(name)
            if node is None:
                node = self._make_node(name)
                if self._prober is not None:
                    node.hurry = self._prober.hurry
                if self._reads_replicas and self._masters:  # closed since, forked or moved here
                    node.wrote((), time.monotonic())
            node.configure(self._policy.timeouts)
            node.point_to(topology.masters.get(name), topology.replicas.get(name))
            node.expect(topology.candidates.get(name))
            nodes[name] = node
        self._masters = topology.masters
        self._routes = Routes(document.placement, nodes)
        for name in before.keys() - nodes.keys():
            before[name].end()

    def master_of(self, shard: str) -> Address | None:
        """The address of a shard's master, as last heard of."""
        return self._masters.get(shard)

    @property
    def _own_options(self) -> dict[str, Any]:
        return {**self._url.options, **self._url.policy}

    def _set_policy(self, policy: Policy) -> None:
        self._policy = policy
        if policy.reading.uses_replicas:
            self._read_replicas(policy.reading)
        self._plain = not (self._reads_replicas or policy.retry_writes or policy.misses)

    def _read_replicas(self, reading: Reading) -> None:
        """From now on know the replicas, how far behind they are, and what was written when."""
        first, self._reads_replicas = not self._reads_replicas, True
        self._plain = False
        if first:
            for node in self._nodes().values():
                node.wrote((), time.monotonic())  # until now nobody kept count of writes
        self._follower.want_replicas()
        if self._prober is None:
            self._prober = Prober(self._shards, self._connector(), self._url.login)
            for node in self._nodes().values():
                node.hurry = self._prober.hurry
        self._prober.measure_every(reading.probe_interval)

    def _shards(self) -> list[Any]:
        """The nodes known so far, for measuring."""
        return list(self._nodes().values())

    def _connector(self) -> Callable[[Address], Any]:
        """Makes blocking connections to instances of any role; does not hold this client."""
        options = {n: v for n, v in self._url.options.items() if n not in _NOT_FOR_PROBES}
        template = redis.Redis(**{**options, "decode_responses": False}).connection_pool
        limit = self._policy.timeouts.connecting(None)
        bounds = {"socket_timeout": limit, "socket_connect_timeout": limit}
        return lambda address: connect(template, address, bounds, None)

    def _stop_measuring(self) -> None:
        if self._prober is not None:
            self._prober.stop()
            self._prober = None

    def with_options(self, **options: Any) -> Self:
        """This client with other habits, for some calls: ``mesh.with_options(...).get(key)``.

        It shares all connections with this one, and closing it leaves this one open.

        Args:
            options: ``retry_writes``, ``on_error``, ``read_from`` or ``max_lag``, see
                `cachemesh.core.pool.settings`.

        Raises:
            cachemesh.ConfigurationError: another option, or a value that it does not take.
        """
        return cast("Self", view_of(self, options))

    def missed_part(self, result: Any, node: N, part: Part) -> Any:
        """A part of a pipeline, with misses where its shard gave no replies, if that is wanted."""
        if not self._policy.misses:
            return result
        if not part.atomic:
            results = result if isinstance(result, list) else [result] * len(part.commands)
            for at, reply in enumerate(results):
                if may_be_missed(reply):
                    results[at] = self._missed_in_pipeline(reply, node, part.commands[at])
            return results
        error = discarded(result)
        if error is None:
            return result
        missed = [self._missed_in_pipeline(error, node, args) for args in part.commands[1:-1]]
        return [*[None] * (len(part.commands) - 1), missed]

    def _missed_in_pipeline(self, error: Exception, node: N, args: Args) -> Any:
        try:
            return self._missed(error, node, args, self._only_reads(args))
        except (ShardUnavailableError, redis.ResponseError) as final:
            return final

    def _only_reads(self, args: Args) -> bool:
        command, _ = self.registry.look_up(args)
        return command is not None and command.read_only

    def wrote_part(self, node: N, part: Part) -> None:
        """A part of a pipeline has been sent."""
        if self._reads_replicas and not part.only_reads:
            self.wrote_to(node)

    def wrote_to(self, node: N) -> None:
        """A transaction may have written there."""
        if self._reads_replicas:
            node.wrote((), time.monotonic())

    @property
    def retry_writes(self) -> bool:
        """Whether a write that may have run is sent again."""
        return self._policy.retry_writes

    def _missed(self, error: Exception, node: N, args: Args, read_only: bool) -> Any:
        """The reply in place of an error, where that is wanted.

        Raises:
            The error: it is not, it is none of a shard that does not serve, or the command has no
                such reply.
            redis.DataError: an argument Redis has no form for; without a connection nobody saw it.
        """
        if not self._policy.misses or node.closed or not may_be_missed(error):
            raise error
        pack(tuple(args))
        options = self._url.options
        resp3 = speaks_resp3(options.get("protocol"))
        reply = miss(args, resp3, bool(options.get("decode_responses")))
        if reply is NO_MISS:
            raise error
        if read_only:
            node.misses += 1
        else:
            node.dropped += 1
        return reply

    def health(self) -> dict[str, ShardHealth]:
        """Shard name -> how it does, as far as this client has seen; asks nobody."""
        return {name: node.health() for name, node in self._nodes().items()}

    def _after_fork(self) -> None:
        """In the child: connections and threads are the parent's."""
        for node in self._nodes().values():
            node.leave_to_parent()
        self._routes = None
        if self._prober is not None:
            self._prober.forget()
            self._prober = None


def may_be_missed(reply: object) -> bool:
    """Whether it tells that a command has not been served, so that a miss may stand for it."""
    return isinstance(reply, ShardUnavailableError) or lacks_replicas(reply)


def refuse_monitor(nodes: Sized) -> None:
    """MONITOR is for a pool of one shard.

    Raises:
        UnsupportedCommandError: there are several.
    """
    if len(nodes) > 1:
        raise UnsupportedCommandError(
            "MONITOR shows what one server does, and this pool has several; "
            "use redis-py on the instance in question"
        )


def refuse_push_handler(options: Mapping[str, Any]) -> None:
    """Of the options of ``pubsub``, that one has no meaning here.

    Raises:
        ConfigurationError: it is given.
    """
    if options.get("push_handler_func") is not None:
        raise ConfigurationError(
            "push_handler_func sees the raw pushes of one connection, and a CacheMesh has one for "
            "each shard; give a handler with subscribe(channel=handler) instead"
        )


def _teller(mates: Mapping[int, weakref.ref[MeshBase[N]]]) -> Callable[[Topology], None]:
    """Lets clients apply a topology; does not keep them alive, for threads hold on to it."""

    def on_change(topology: Topology) -> None:
        for mate in list(mates.values()):
            client = mate()
            if client is not None and client._routes is not None:
                client._apply(topology)

    return on_change


_clients: weakref.WeakSet[MeshBase[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
