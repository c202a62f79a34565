"""The core of a client: connections to shards, how the pool is followed, the policy of now.

Clients that `with_options` makes of another have one core with it; clients that ``client()`` and
``copy.copy`` make have one of their own, and follow the pool together.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic

import redis

from cachemesh._client.membership_calls import apply_to, drained_of, felt_by
from cachemesh._client.migration_state import Hold, Stage
from cachemesh.core.commands.encoding import text_encoder
from cachemesh.core.commands.registry import CommandRegistry
from cachemesh.core.errors import LeaseLostError, ShardTimeoutError
from cachemesh.core.migration.pull import Link
from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.names import Address
from cachemesh.core.placement import Placement
from cachemesh.core.placement.route_table import RouteTable
from cachemesh.core.policy import Policy
from cachemesh.core.pool.arrivals import arrived
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.in_flight import in_flight, involved
from cachemesh.core.pool.topology import Topology
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.rerouting import RerouteError, ShardRetiredError
from cachemesh.discovery.lease import NEVER_OVER
from cachemesh.discovery.membership import Membership
from cachemesh.discovery.url import MeshUrl
from cachemesh.transport.lease_clock import LeaseEnd
from cachemesh.transport.redis_py import login_of
from cachemesh.transport.replication_probe import Prober
from cachemesh.transport.shard_base import S
from cachemesh.transport.sync.handshake import connect

_ASK_SECONDS = 3.0


_NOT_FOR_PROBES = ("redis_connect_func", "retry", "single_connection_client")


class MeshCore(Generic[S]):
    """What is the same in the core of both clients.

    Args:
        url: the pool to follow, and the client's own options.
        parent: a core whose membership this one shares.

    Attributes:
        url: as given.
        registry: the commands known.
        encode: makes bytes of an argument's text, if the client's encoding is not plain UTF-8.
        membership: follows the pool.
        pool: the client's ``connection_pool``; set once, by the client's constructor.
        policy: the client's own options and, for the rest, the pool's settings.
        reads_replicas: whether any client of this core does, so that writes are noted.
        plain: whether ``policy`` asks for nothing but a command's reply from the master.
        usual: whether that is so, and commands go as they are to the shards' own connections.
        route_table: None before the first use, after `close`, and in a forked child.
        own_connection: ``connection``, unless the app has set that.
        closings: how often this core was closed.
        client_id: returns the id of now by which metaservers know this process; None without one.
        lease: when to ask a metaserver before the next command, see `loaded`.
    """

    policy: Policy
    plain: bool
    usual: bool

    def __init__(self, url: MeshUrl, parent: MeshCore[S] | None) -> None:
        self.url = url
        self.registry = CommandRegistry()
        self.encode = text_encoder(url.options)
        self.pool: Any = None
        self.route_table: RouteTable[S] | None = None
        self._connection: Any = None
        self.own_connection: Any = None
        self.reads_replicas = False
        self.closings = 0
        self.lease: LeaseEnd = NEVER_OVER
        self._topology: Topology | None = None
        self._hold: Hold | None = None
        self._moves: MigratingPlacement | None = None
        self._stage = Stage[S]()
        self._retired: tuple[S, ...] = ()
        self._prober: Prober | None = None
        self._parent = parent
        if parent is None:
            self._mates: dict[int, weakref.ref[MeshCore[S]]] = {}
            self.membership = Membership(url, apply_to(self._mates), drained_of(self._mates))
            self.membership.reporter = felt_by(self._mates)
        else:
            self._mates = parent._mates
            self.membership = parent.membership
        self.client_id: Callable[[], str | None] = partial(getattr, self.membership, "client_id")
        self._set_policy({})
        mates, key = self._mates, id(self)
        mates[key] = weakref.ref(self, lambda _: mates.pop(key, None))
        _cores.add(self)

    @property
    def connection(self) -> Any:
        """The connection of a single-connection client, else None."""
        return self._connection

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection = connection
        self._set_usual()

    @connection.deleter
    def connection(self) -> None:
        del self._connection  # for `patch.object`, which then sets it

    def topology(self) -> Topology:
        """Return the topology of now."""
        raise NotImplementedError

    def shards(self) -> Mapping[str, S]:
        """Return the shards known so far, by name."""
        return {} if self.route_table is None else self.route_table.shards

    def master_of(self, shard: str) -> Address | None:
        """Return the address of a shard's master, as last heard of."""
        return None if self._topology is None else self._topology.masters.get(shard)

    def _make_shard(self, name: str) -> S:
        """Return a client of the shard; nothing is connected yet."""
        raise NotImplementedError

    def apply(self, topology: Topology, closings: int | None = None) -> None:
        """Route by another topology. Calls come one at a time, from any thread.

        Args:
            topology: the one that counts from now on.
            closings: of this core, before it was found that a topology is to be applied.
        """
        closings = self.closings if closings is None else closings
        self._route_by(topology)
        if self.closings != closings:  # it was closed meanwhile, perhaps before it had these
            for shard in self.drop_route_table().values():
                shard.end()

    def _route_by(self, topology: Topology) -> None:
        document = topology.document
        before = self.shards()
        self._set_policy(document.settings)
        stage, migrating = self._migrating(document)
        hold = self._hold_of(document, migrating)
        losers = self._losers(document, hold) & before.keys()
        successors = {name: self._successor(before[name]) for name in losers}
        unseen = losers | self._gainers(document)
        shards = {}
        for name in document.shard_names:
            shard = successors.get(name, before.get(name))
            if self.reads_replicas and name in unseen and shard is not None:
                # What is under way is noted elsewhere, and nowhere what others have moved here.
                shard.wrote((), time.monotonic())
            if shard is None:
                shard = self._make_shard(name)
                if self._prober is not None:
                    shard.hurry = self._prober.hurry
                if self.reads_replicas and self._topology is not None:
                    shard.wrote((), time.monotonic())  # closed since, forked or moved here
            shard.configure(self.policy.timeouts)
            shard.point_to(topology.masters.get(name), topology.replicas.get(name))
            shard.expect(topology.candidates.get(name))
            shards[name] = shard
        self.lease = self.membership.lease_end(strict=self.policy.refuses_unleased)
        retiring = [(before[name], successors[name]) for name in losers]
        self._remember_retired([former for former, _ in retiring])  # before the hold can be seen
        placement = document.placement if migrating is None else migrating
        route_table = RouteTable(placement, shards)
        ended, self._hold = self._hold, hold
        self._moves, self._stage, stage.shards = migrating, stage, shards
        self._topology = topology  # with the route table, as `acts_on` tells of both
        # First: whoever finds a retired shard looks here for the one in its place.
        self.route_table = route_table
        if losers:
            self._retire(retiring)
        stepped_back = ended is not None and placement == ended.placement.stable
        if hold is None and not stepped_back:
            for name in losers if ended is None else ended.shards & before.keys():
                successors.get(name, before[name]).unblock(partial(_has_left, placement, name))
        if ended is not None and ended is not hold:
            self._open(ended.gate)
        for name in before.keys() - shards.keys():
            successors.get(name, before[name]).end()

    def _migrating(self, document: PoolDocument) -> tuple[Stage[S], MigratingPlacement | None]:
        """Return what is routed by while keys move; that of now, if nothing has changed."""
        migration, now = document.migrating, self._moves
        if migration is None:
            return self._stage, None
        goes_on = now is not None and now.goes_on(document.placement, migration)
        if goes_on and now is not None and now.migration == migration:
            return self._stage, now
        stage = self._stage if goes_on else Stage[S]()
        return stage, MigratingPlacement(document.placement, migration, stage)

    def _losers(self, document: PoolDocument, hold: Hold | None) -> frozenset[str]:
        """Return the shards that are about to lose keys, or have just lost some unprepared.

        Commands that were routed to them before must not be sent there any more. After a
        preparation, none of those is left.
        """
        lost = in_flight(None if self._topology is None else self._topology.document, document)
        return lost if hold is None or hold is self._hold else hold.shards | lost

    def _successor(self, former: S) -> S:
        if self.reads_replicas:  # first: both note writes in one place, as replies come to both
            former.wrote((), time.monotonic())
        return former.successor()

    def _gainers(self, document: PoolDocument) -> frozenset[str]:
        """Return the shards that are asked for keys from now on which others have moved there."""
        return arrived(None if self._topology is None else self._topology.document, document)

    def _hold_of(self, document: PoolDocument, migrating: MigratingPlacement | None) -> Hold | None:
        """Return the hold of a document: that of now, if version and moves are the same."""
        hold = self._hold
        if migrating is None or not migrating.holds:
            return None
        if hold is not None and hold.version == document.version and hold.placement is migrating:
            return hold
        return Hold(document.version, migrating, involved(document), self._gate())

    @property
    def holds(self) -> bool:
        """Whether commands on keys that are about to move are held."""
        return self._hold is not None

    def wait_until(self) -> float:
        """Return until when a command may wait for keys to move that has to from now on.

        By `time.monotonic`.
        """
        limit = self.policy.timeouts.reply
        return math.inf if limit is None else time.monotonic() + limit

    def link(self, source: S, target: S, timeout: float) -> Link | None:
        """Return how keys get from one shard to another by now.

        Args:
            source, target: the shards.
            timeout: seconds for one request of a pull.

        Returns:
            None if no master of the target is known.

        Raises:
            ShardRetiredError: the stage is over in which keys moved there.
        """
        moves, to = self._moves, target.master
        if moves is None or target.retired:  # in this order: a retired shard has no master
            raise ShardRetiredError
        if to is None:
            return None
        replicas = moves.migration.replicas
        return Link(
            to,
            replicas.get(source.name, 0),
            replicas.get(target.name, 0),
            max(1, int(1000 * timeout)),
            login_of(self.url.options),
            db=int(self.url.options.get("db") or 0),
        )

    def note_settled(self, stage: Stage[S], target: str, keys: Sequence[bytes]) -> None:
        """Remember that keys are where they move to.

        Reads from replicas go to those that have what a master had by now.
        """
        if self.reads_replicas:
            stage.shards[target].wrote(keys, time.monotonic())
        stage.settled.add(keys)

    def drained(self) -> bool:
        """Return whether no command is under way any more that was routed before a hold."""
        return all(shard.drained() for shard in self._retired)

    def _retire(self, shards: Sequence[tuple[S, S]]) -> None:
        """Retire shards, each in favour of the second."""
        for former, successor in shards:
            former.retire(successor)

    def _remember_retired(self, shards: Iterable[S]) -> None:
        """Remember shards that are retired, or closed, until they are drained."""
        undone = [shard for shard in self._retired if not shard.drained()]
        self._retired = (*undone, *shards)

    def _gate(self) -> Any:
        """Return a gate, at which held commands wait."""
        raise NotImplementedError

    def _open(self, gate: Any) -> None:
        """Let all commands go that wait at a gate, and those that come to it later."""
        raise NotImplementedError

    def still_held(self) -> ShardTimeoutError:
        """Return the error for a command that was held for all of its time."""
        return ShardTimeoutError(
            f"Pool {self._topology.document.pool if self._topology else ''!r} is being resized, "
            f"and the metaserver has not said in time how that goes on; the command was not sent. "
            f"See: cachemesh pool status"
        )

    def acts_on(self, version: int) -> bool:
        """Return whether this client acts on this version of the pool, or on a later one."""
        topology = self._topology
        return topology is not None and topology.document.version >= version

    @property
    def _ask_seconds(self) -> float:
        """For how long a command waits for a metaserver once the lease is over."""
        limit = self.policy.timeouts.reply
        return _ASK_SECONDS if limit is None else min(limit, _ASK_SECONDS)

    def _asked(self, holds: bool) -> None:
        """Go on after metaservers were asked because the lease was over.

        Raises:
            LeaseLostError: none has answered, and the policy is not to serve then.
        """
        if not holds and self.policy.refuses_unleased:
            raise LeaseLostError(
                f"No metaserver of {self.url.shown} answers, and the lease of this client is over: "
                "it may act on former shards; check the metaservers, or set on_lease_lost=serve"
            )

    def _set_policy(self, settings: Mapping[str, Any]) -> None:
        self.policy = Policy.of({**self.url.options, **self.url.policy}, settings)
        if self.policy.reading.uses_replicas:
            self.read_replicas(self.policy.reading)
        self._set_plain()

    def _set_plain(self) -> None:
        policy = self.policy
        self.plain = not (self.reads_replicas or policy.retry_writes or policy.misses)
        self._set_usual()

    def _set_usual(self) -> None:
        self.usual = self.plain and self.encode is None and self._connection is None

    def read_replicas(self, reading: Reading) -> None:
        """Find the replicas, measure how far behind they are, and note writes, from now on.

        Args:
            reading: of a client of this core; it says how often replicas are measured.
        """
        first, self.reads_replicas = not self.reads_replicas, True
        self._set_plain()
        if first:
            for shard in self.shards().values():
                shard.wrote((), time.monotonic())  # until now nobody noted writes
        self.membership.want_replicas()
        if self._prober is None:
            self._prober = Prober(self._measured, self._connector(), self.url.login)
            for shard in self.shards().values():
                shard.hurry = self._prober.hurry
        self._prober.measure_every(reading.probe_interval)

    def _measured(self) -> list[Any]:
        """Return the shards whose replicas are measured; the prober holds this method weakly."""
        return list(self.shards().values())

    def _connector(self) -> Callable[[Address], Any]:
        """Return what connects to an instance of any role; does not hold this core."""
        options = {n: v for n, v in self.url.options.items() if n not in _NOT_FOR_PROBES}
        template: Any = redis.Redis(**{**options, "decode_responses": False}).connection_pool
        template.client_id = self.client_id
        template.versioned = self.membership
        held, at_first = weakref.ref(self), self.policy.timeouts

        def connected(address: Address) -> Any:
            core = held()
            limit = (at_first if core is None else core.policy.timeouts).connecting(None)
            bounds = {"socket_timeout": limit, "socket_connect_timeout": limit}
            return connect(template, address, bounds, None)

        return connected

    def stop_measuring(self) -> None:
        """Measure replicas no more, until a client reads from them again."""
        if self._prober is not None:
            self._prober.stop()
            self._prober = None

    def leave_pool(self, at_once: bool = True) -> None:
        """Follow the pool no more, unless a parent does. A later use starts again.

        Args:
            at_once: False leaves soon, which is safe within a garbage collection.
        """
        if self._parent is None:
            self.membership.close(at_once)

    def drop_route_table(self) -> Mapping[str, S]:
        """Take the shards away: the next command loads the topology anew."""
        shards, self.route_table = self.shards(), None
        hold, self._hold = self._hold, None
        self._moves = None
        if hold is not None:
            self._open(hold.gate)
        return shards

    def after_fork(self) -> None:
        """In the child: leave connections and threads to the parent."""
        for shard in self.drop_route_table().values():
            shard.leave_to_parent()
        self._retired = ()
        if self._prober is not None:
            self._prober.forget()
            self._prober = None


def _has_left(placement: Placement, shard: str, key: bytes) -> bool:
    """Return whether commands on a key go to another shard than this one by now."""
    try:
        return placement.owner(key) != shard
    except RerouteError:
        return True


_cores: weakref.WeakSet[MeshCore[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for core in list(_cores):
        core.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
