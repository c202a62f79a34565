"""What both clients do alike, with no I/O: how one is made, policies, misses, notes of writes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NoReturn

import redis
from redis.exceptions import OutOfMemoryError

from cachemesh._client.core import MeshCore
from cachemesh._client.options import changed_policy, check_call_options
from cachemesh._client.pool_health import PoolHealth
from cachemesh.core.commands.blocking import block_seconds
from cachemesh.core.commands.spec import Args
from cachemesh.core.connection_names import NAMED_BY, full_name, showing_own_names
from cachemesh.core.errors import ConfigurationError, ShardUnavailableError, UnsupportedCommandError
from cachemesh.core.names import Address
from cachemesh.core.placement.keys import key_bytes
from cachemesh.core.planning.miss_replies import NO_MISS_REPLY, miss_reply
from cachemesh.core.planning.pipeline_parts import Part, discarded
from cachemesh.core.planning.plan import keys_of
from cachemesh.core.planning.stuck_keys import STUCK_ERRORS
from cachemesh.core.policy import Policy
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.error_classification import lacks_replicas
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.transport.redis_py import pack, speaks_resp3
from cachemesh.transport.shard_base import S

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

ENDS_CONNECTION = frozenset({"CLIENT REPLY", "HELLO", "QUIT", "RESET"})
"""Commands after which a connection speaks in another way, or not at all: none is used again."""


class MeshBase(Generic[S]):
    """A client: a core, which other clients may share, and a policy.

    Goes before redis-py's class among the bases of a client.
    """

    _core: MeshCore[S]
    _call_options: Mapping[str, Any] = {}  # of `with_options`
    _owns_core = True
    _origin: MeshBase[S] | None = None  # the client that `with_options` was called on
    _derived: tuple[Policy, Policy] | None = None  # the core's policy, and this client's from it
    response_callbacks: Any  # redis-py's, which folds case at every look-up
    execute_command: Any

    def __init__(
        self, source: str | MeshUrl, *, parent: Self | None = None, **options: Any
    ) -> None:
        """Each client has its own constructor, which takes this.

        Args:
            source: a URL as `from_url` takes, or what `parse_url` made of one.
            parent: a client to follow the pool together with.
            options: of the URL.
        """
        raise NotImplementedError

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a client for the pool that a URL names.

        ``cachemesh://meta1:7700,meta2:7700/POOL`` asks metaservers,
        ``cachemesh+sentinel://s1:26379,s2:26379/POOL`` asks Sentinels alone,
        ``cachemesh+zk://zk1:2181,zk2:2181/CHROOT/POOL`` finds metaservers in ZooKeeper,
        ``cachemesh+file:///path/pool.json`` reads a file. Options may stand in the query string.

        Raises:
            cachemesh.ConfigurationError: the URL or an option is not valid.
        """
        return cls(url, **options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Return a client from CACHEMESH_URL and CACHEMESH_TOKEN or CACHEMESH_TOKEN_FILE.

        Raises:
            cachemesh.ConfigurationError: CACHEMESH_URL is not set, or not valid.
        """
        return cls(parse_url(None, options, os.environ if environ is None else environ))

    @classmethod
    def from_pool(cls, connection_pool: object) -> Self:
        """Refuse: redis-py's pools have one server, and a CacheMesh connects to each shard.

        Raises:
            cachemesh.ConfigurationError: always.
        """
        raise ConfigurationError(
            "A CacheMesh makes its own connections to each shard; use CacheMesh.from_url"
        )

    def client(self) -> Self:
        """Return a client with a connection to itself, as redis-py's; for one thread or task.

        On a pool of one shard all of its commands go over that one connection. It follows the
        pool together with this client, and closing it leaves this one open.
        """
        options = {**self._core.url.options, "single_connection_client": True}
        return self._another(replace(self._core.url, options=options))

    def __copy__(self) -> Self:
        """Return another client of the same pool, with connections of its own."""
        twin = self._another(self._core.url)
        twin.response_callbacks.update(self.response_callbacks)
        return twin

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A CacheMesh holds connections and cannot be pickled; pickle its URL instead"
        )

    def _another(self, url: MeshUrl) -> Self:
        twin = type(self)(url, parent=self)
        twin._call_options = self._call_options
        twin._measure()
        return twin

    def with_options(self, **options: Any) -> Self:
        """Return this client with another policy: ``mesh.with_options(...).get(key)``.

        All connections are shared with this client, and closing the other leaves this one open.

        Args:
            options: ``retry_writes``, ``on_error``, ``read_from`` or ``max_lag``, see
                `cachemesh.core.pool.settings`.

        Raises:
            cachemesh.ConfigurationError: another option, or a value that it does not take.
        """
        checked = check_call_options(options)
        view = type(self).__new__(type(self))
        vars(view).update(vars(self))  # redis-py's state too: callbacks, locks, the pool
        view._call_options = {**self._call_options, **checked}
        view._owns_core, view._origin, view._derived = False, self, None
        view._measure()
        return view

    def client_setname(self, name: Any, **options: Any) -> Any:
        """Set the app's own name of a connection to each shard, as redis-py's."""
        return self.execute_command(*self._named(("CLIENT SETNAME", name)), **options)

    def _named(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a command; if it names connections, so that metaservers still know whose."""
        if len(args) < 2 or type(args[0]) is not str or args[0][:6].upper() != "CLIENT":
            return args
        words = (*args[0].split(), *args[1:])
        client_id = self._core.client_id()
        if client_id is None or len(words) != 3 or _upper(words[1]) != "SETNAME":
            return args
        return ("CLIENT SETNAME", full_name(client_id, words[2]))

    def _may_block(self, args: Args) -> bool:
        """Return whether a command may wait on the server."""
        command, words = self._core.registry.look_up(args)
        return command is not None and block_seconds(command.original, words) is not None

    def _show_own_names(self) -> None:
        """Have replies show names of connections as the app has given them."""
        for command in NAMED_BY:
            callback = self.response_callbacks.get(command)
            if callback is not None:
                showing = showing_own_names(command, callback, self._core.client_id)
                self.response_callbacks[command] = showing

    def _measure(self) -> None:
        """Have replicas measured before the first read, if this client reads from them."""
        if self._policy.reading.uses_replicas:
            self._core.read_replicas(self._policy.reading)

    @property
    def _policy(self) -> Policy:
        """The policy of now: the core's, with what options of `with_options` change in it."""
        base = self._core.policy
        if not self._call_options:
            return base
        derived = self._derived
        if derived is None or derived[0] is not base:
            derived = self._derived = base, changed_policy(base, self._call_options)
            self._measure()
        return derived[1]

    def __repr__(self) -> str:
        health = self._core.membership.health()
        shown = self._core.url.shown
        if health is not None:
            shown += f", version {health.version}"
            shown += " of a snapshot" if health.source == "snapshot" else ""
        return f"<{type(self).__module__}.{type(self).__name__}({shown})>"

    @property
    def connection(self) -> Any:
        """The connection of a single-connection client, else None; redis-py's attribute."""
        return self._core.connection

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._core.connection = connection

    @connection.deleter
    def connection(self) -> None:  # as `unittest.mock.patch.object` does, before it sets it again
        del self._core.connection

    def shard_for(self, key: str | bytes) -> str:
        """Return the name of the shard that owns a key.

        Raises:
            cachemesh.InvalidKeyError: a key Redis cannot hold.
            As `topology`.
        """
        return self.topology.document.placement.owner(self.key_bytes(key))

    @property
    def topology(self) -> Topology:
        """The topology of now; a client for threads loads it if this is the first use.

        Raises:
            cachemesh.ConfigurationError: an asyncio client has none loaded yet; await `load` first.
            cachemesh.CacheMeshError, redis.ConnectionError: it cannot be loaded.
        """
        return self._core.topology()

    def master_of(self, shard: str) -> Address | None:
        """Return the address of a shard's master, as last heard of; None if nobody knows it."""
        return self._core.master_of(shard)

    def health(self) -> PoolHealth:
        """Return how each shard does, by name, as far as this client has seen; asks nobody.

        Its ``topology`` tells what this client routes by, and whether the control plane answers.
        """
        shards = {name: shard.health() for name, shard in self._core.shards().items()}
        return PoolHealth(shards, self._core.membership.health())

    @property
    def retry_writes(self) -> bool:
        """Whether a write that may have run is sent again."""
        return self._policy.retry_writes

    @property
    def encodes(self) -> bool:
        """Whether text in arguments is not to be plain UTF-8; then `encoded` makes it bytes."""
        return self._core.encode is not None

    def encoded(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a command's arguments with text as bytes, where it is not to be plain UTF-8."""
        encode = self._core.encode
        return args if encode is None else (*args[:1], *map(encode, args[1:]))

    def key_bytes(self, key: Any) -> bytes:
        """Return a key, or a channel's name, as the bytes that this client sends.

        Raises:
            cachemesh.InvalidKeyError: a key Redis cannot hold.
        """
        (_, encoded) = self.encoded(("", key))
        return key_bytes(encoded)

    def wrote_part(self, shard: S, part: Part) -> None:
        """Note that a part of a pipeline has been sent."""
        if not part.only_reads:
            self.wrote_to(shard)

    def wrote_to(self, shard: S, keys: Sequence[bytes] = ()) -> None:
        """Note a write, so that a replica is read from only once it has that.

        Args:
            shard: where the write went.
            keys: to which; none if nobody knows.
        """
        if self._core.reads_replicas:
            shard.wrote(keys, time.monotonic())

    def missed_part(self, result: Any, shard: S, part: Part) -> Any:
        """Return the result of a pipeline's part with miss replies, which the policy asks for.

        Args:
            result: the replies, or why the shard gave none.
            shard: what was asked.
            part: of the pipeline.
        """
        if not part.atomic:
            results = result if isinstance(result, list) else [result] * len(part.commands)
            for at, reply in enumerate(results):
                if may_be_missed(reply):
                    results[at] = self._missed_in_pipeline(reply, shard, part.commands[at])
            return results
        error = discarded(result)
        if error is None:
            return result
        missed = [self._missed_in_pipeline(error, shard, args) for args in part.commands[1:-1]]
        return [*[None] * (len(part.commands) - 1), missed]

    def _missed_route(self, error: Exception, args: Args) -> Any:
        """Return the miss reply for a command that found no way to its key; raises as `_missed`."""
        command, words = self._core.registry.look_up(args)
        if command is None or not command.specs:
            raise error
        route_table = self._core.route_table
        keys = keys_of(command, words)
        if route_table is None or not keys:
            raise error
        shard = route_table.shards[route_table.placement.stable.owner(keys[0])]
        return self._missed(error, shard, args, command.read_only)

    def _missed_in_pipeline(self, error: Exception, shard: S, args: Args) -> Any:
        command, _ = self._core.registry.look_up(args)
        try:
            return self._missed(error, shard, args, command is not None and command.read_only)
        except (ShardUnavailableError, redis.ResponseError) as final:
            return final

    def _missed(self, error: Exception, shard: S, args: Args, read_only: bool) -> Any:
        """Return the miss reply in place of an error, if the policy asks for that.

        Raises:
            The error itself: if the policy asks for no misses, if the error is not that the shard
                does not serve, or if the command has no miss reply.
            redis.DataError: an argument cannot be encoded, which no connection has checked.
        """
        if not self._policy.misses or shard.closed or not may_be_missed(error):
            raise error
        if isinstance(error, OutOfMemoryError) and not read_only:
            raise error  # as of any shard that is full
        pack(tuple(args))
        options = self._core.url.options
        resp3 = speaks_resp3(options.get("protocol"))
        reply = miss_reply(args, resp3, bool(options.get("decode_responses")))
        if reply is NO_MISS_REPLY:
            raise error
        if read_only:
            shard.misses += 1
        else:
            shard.dropped += 1
        return reply


def _upper(word: object) -> str:
    return (word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)).upper()


def may_be_missed(reply: object) -> bool:
    """Return whether a reply says that a shard did not serve, so that a miss may stand for it.

    For want of memory that is so with reads alone, whose key was to be moved to the shard before.
    """
    return isinstance(reply, STUCK_ERRORS) or lacks_replicas(reply)


def refuse_monitor(shards: Sized) -> None:
    """Refuse MONITOR, unless the pool has one shard.

    Raises:
        UnsupportedCommandError: there are several shards.
    """
    if len(shards) > 1:
        raise UnsupportedCommandError(
            "MONITOR shows what one server does, and this pool has several; "
            "use redis-py on the instance in question"
        )


def refuse_push_handler(options: Mapping[str, Any]) -> None:
    """Refuse the one option of ``pubsub`` that has no meaning here.

    Raises:
        ConfigurationError: ``push_handler_func`` is given.
    """
    if options.get("push_handler_func") is not None:
        raise ConfigurationError(
            "push_handler_func sees the raw pushes of one connection, and a CacheMesh has one for "
            "each shard; give a handler with subscribe(channel=handler) instead"
        )
