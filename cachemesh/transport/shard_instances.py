"""The instances of one shard, and the connections to them, as the topology changes."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from cachemesh.core.names import Address
from cachemesh.core.pool.topology import Candidate
from cachemesh.core.quality.meter import QualityMeter
from cachemesh.core.reads.replication_lag import LagMeter
from cachemesh.core.rerouting import ShardRetiredError
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.transport import redis_py
from cachemesh.transport.instance_base import InstanceBase, InstanceSpec
from cachemesh.transport.master_locator import MasterLocator

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

SWITCH_GRACE = 0.5
"""Seconds that a former master has for the replies it still owes.

In a planned failover writes wait on the master until it is demoted, somewhat after the promotion.
"""

PROMOTION_SECONDS = 5.0
"""How long a replica that Sentinel has selected is asked whether it is the master by now."""

PROMOTION_STEP = 0.03
"""Seconds between two such questions."""


InstanceT = TypeVar("InstanceT", bound=InstanceBase)


class _Earlier(NamedTuple):
    """A shard that another has taken the place of.

    Attributes:
        shard: gone once nobody uses it any more, who could block there yet.
        blocked: where commands block that it has sent.
    """

    shard: weakref.ref[Any]
    blocked: dict[Any, Sequence[bytes]]


class ShardInstances(Generic[InstanceT]):
    """The master and the replicas of one shard.

    Args:
        name: of the shard.
        template: connection options.
        locator: knows where the master is.

    Attributes:
        limit: seconds that a command may take with all its attempts.
        instance: the master; None if no master is known.
        replicas: as far as known.
        meter: up to when the replicas have all writes.
        quality: what the app feels of the shard.
        forked: the shard's connections are a parent's, and this is a child of that process.
        ended: the shard is followed no more: the client was closed, or the shard has left the pool.
        identity: the same for a shard and its successors, and no other.
        retired: a resize has begun since: nothing is sent any more, and commands are routed anew.
        watching: the pipelines that hold a connection of `pool`; one that is left is not kept.
        closed: the client was closed.
    """

    def __init__(self, name: str, template: Any, locator: MasterLocator) -> None:
        self.name = name
        self._template = template
        self._locator = locator
        self._timeouts = Timeouts(None, None)
        self._expected: Candidate | None = None
        self._knows_replicas = False
        self.limit = math.inf
        self.instance: InstanceT | None = None
        self.replicas: tuple[InstanceT, ...] = ()
        self.meter = LagMeter()
        self.quality = QualityMeter()
        self.ended = self.closed = self.forked = False
        self.identity = object()
        self.retired = False
        self._successor: Self | None = None
        self.watching = weakref.WeakSet[object]()
        self._uses = set[object]()  # of connections of `pool`, by single commands
        self._retiring: tuple[InstanceT, ...] = ()  # of a retired shard
        self._former: tuple[InstanceT, ...] = ()  # that others have taken the place of
        self._pool: Any = None
        self._unblocked: set[Any] = set()  # connections that were ended because keys have moved
        self._blocked: dict[Any, Sequence[bytes]] = {}  # where commands block, on which keys
        self._earlier: tuple[_Earlier, ...] = ()
        self._switching = threading.RLock()  # else a former master could be brought back

    @property
    def advice(self) -> str:
        """As `MasterLocator.advice`."""
        return self._locator.advice(self.name)

    @property
    def master(self) -> Address | None:
        """Where the master is, as far as known."""
        instance = self.instance
        return None if instance is None else instance.address

    def configure(self, timeouts: Timeouts) -> None:
        """Set the timeouts, also of the connections that are there. From any thread.

        Commands under way may go on with the former ones, as those do that block on the server.
        """
        if timeouts != self._timeouts:
            self._timeouts = timeouts
            self.limit = math.inf if timeouts.reply is None else timeouts.reply
            with self._switching:
                for instance in (self.instance, *self.replicas):
                    if instance is not None:
                        instance.retime(self.timeouts_for(instance.role))

    def point_to(self, master: Address | None, replicas: Sequence[Address] | None = None) -> None:
        """Set where the instances are, and end connections to others. From any thread.

        Args:
            master: None if no master is known.
            replicas: None if nobody has looked for them yet.
        """
        with self._switching:
            self._set_replicas([address for address in replicas or () if address != master])
            self._knows_replicas = replicas is not None
            # First: what the former master has sent since must not count for writes to this one.
            self.meter.follow(master)
            if master != self.master:
                self._set_master(master, SWITCH_GRACE)

    def expect(self, candidate: Candidate | None) -> None:
        """Note that Sentinel has selected a replica to be the next master. From any thread."""
        if candidate is not None and candidate != self._expected and self.master is not None:
            self._follow_promotion(self.master, candidate.address)
        self._expected = candidate

    def _follow_promotion(self, former: Address, candidate: Address) -> None:
        """Ask the candidate for its role until it is the master, then go there at once."""
        raise NotImplementedError

    def drop_connections(self) -> None:
        """Close all idle connections and, as they come back, those in use. From any thread."""
        with self._switching:
            self._set_master(self.master, None)
            former = self.replicas
            self.replicas = tuple(self._make(replica.address, None) for replica in former)
            for replica in former:
                self._let_go(replica, None)

    def end(self) -> None:
        """Drop all connections, and neither probe instances nor look for the master any more.

        Commands under way go on.
        """
        self.ended = True
        self.drop_connections()
        for instance in (self.instance, *self.replicas):
            if instance is not None:
                instance.probes = False

    def successor(self) -> Self:
        """Return what takes this shard's place when a resize begins, before `retire`.

        Both have the same instances until then, and the same pool.
        """
        other = copy(self)
        other.watching, other._uses, other._former = weakref.WeakSet(), set(), ()
        earlier = [each for each in self._earlier if each.blocked or each.shard() is not None]
        other._earlier = (*earlier, _Earlier(weakref.ref(self), self._blocked))
        other._blocked = {}
        return other

    def retire(self, successor: Self) -> None:
        """Send nothing any more: whoever still has this shard finds no instance, and sees why.

        Idle connections pass to the successor. Commands under way end where they are.
        As with RCU, a command pays nothing for that: one that took this shard from an earlier route
        table finds either a connection, which `drained` waits for, or none.
        """
        with self._switching:
            self.retired, self._successor = True, successor
            master, replicas = self.instance, self.replicas
            self.instance, self.replicas = None, ()
            present = (*(() if master is None else (master,)), *replicas)
            self._retiring = (*present, *self._former)
            if successor.instance is not None:
                successor.instance = successor._succeed(successor.instance, present)
            successor.replicas = tuple(
                successor._succeed(each, present) for each in successor.replicas
            )
            for each in present:
                if not each.dropped:  # the successor had another already
                    each.drop()
            if self._pool is not None:
                self._pool.serve(successor)

    def _succeed(self, former: InstanceT, left: Sequence[InstanceT]) -> InstanceT:
        """Return an instance in place of one that is used no more; else that one.

        Args:
            left: are used no more, as the shard is retired; others were dropped meanwhile.
        """
        if former not in left and not former.dropped:
            return former
        instance = self._make(former.address, former.role)
        instance.breaker, instance.doubted = former.breaker, former.doubted
        instance.window = former.window
        former.retire(instance)
        return instance

    @property
    def latest(self) -> Self:
        """The shard itself, or the one in favour of which it is retired by now."""
        found = self
        while found._successor is not None:
            found = found._successor
        return found

    def drained(self) -> bool:
        """Return whether all is over that was sent before `retire`, or before the client's end.

        What blocks does not count.

        A command that blocks gets nothing any more: nobody writes to its keys here. That holds for
        one that the server has. One that comes there later may find what was copied meanwhile, and
        take it, or write it, where nobody looks any more. Whoever has all clients' acknowledgement
        asks each server once before keys move (the leader, for its connections): with the answer,
        the server has read all that had come to its machine before.
        """
        instances = self._retiring
        if not self.retired:
            if not self.closed:
                return False
            # Whoever holds a connection of `pool` finds it closed.
            master = () if self.instance is None else (self.instance,)
            instances = (*master, *self.replicas, *self._former)
        elif self.watching or self._uses:
            return False
        arrived = {each for each in list(self._blocked) if each.has_arrived()}
        return all(each.dropped and each.drained(arrived) for each in instances)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Have a resize wait for a command over a connection of `pool`.

        Raises:
            ShardRetiredError: one has begun.
        """
        use = object()
        self._uses.add(use)
        try:
            if self.retired:  # in this order: a resize waits for the command, or this sees it
                raise ShardRetiredError
            yield
        finally:
            self._uses.discard(use)

    def unblock(self, left: Callable[[bytes], bool]) -> None:
        """End commands that block on keys which have left; they are routed anew. From any thread.

        Only those that were sent before this shard took another's place: since then nobody writes
        to these keys here, so that nothing is under way to them. What the server has sent before
        still arrives.

        Args:
            left: tells whether a key belongs to another shard by now.
        """
        for earlier in self._earlier:
            for connection, keys in list(earlier.blocked.items()):
                if any(map(left, keys)):
                    self._unblocked.add(connection)
                    connection.send_no_more()

    def leave_to_parent(self) -> None:
        """Let go of all connections in a forked child, without an effect on the parent's."""
        self.forked = True
        pool = self._pool
        if pool is not None:
            for connection in (*pool._available_connections, *pool._in_use_connections):
                redis_py.leave_to_parent(connection)
        self.abandon()

    def abandon(self) -> None:
        """For asyncio: let go of all connections; the client goes on in another loop or process."""

    def _set_master(self, master: Address | None, grace: float | None) -> None:
        former = self.instance
        self.instance = None if master is None else self._make(master, "master")
        if former is not None:
            self._let_go(former, grace)
        self._switched(grace)

    def _let_go(self, former: InstanceT, grace: float | None) -> None:
        """Drop an instance that another has taken the place of; a resize waits for its commands."""
        former.drop(grace)
        left = (each for each in self._former if not each.drained(()))
        self._former = (*left, former)

    def _switched(self, grace: float | None) -> None:
        """Tell all that wait, and close idle connections to the former master.

        Args:
            grace: None if the master is the same, and only its connections are new.
        """
        raise NotImplementedError

    def _end_blocked(self) -> None:
        """End commands that block on the server."""
        for blocked in (*[each.blocked for each in self._earlier], self._blocked):
            for connection in list(blocked):
                connection.shut()

    def _set_replicas(self, addresses: Sequence[Address]) -> None:
        known = {replica.address: replica for replica in self.replicas}
        if set(addresses) == set(known):
            return
        self.replicas = tuple(known.pop(a, None) or self._newcomer(a) for a in addresses)
        for former in known.values():
            self._let_go(former, SWITCH_GRACE)

    def _newcomer(self, address: Address) -> InstanceT:
        """Return a replica of any role: one that has become a master since has all that it had."""
        replica = self._make(address, None)
        if self._knows_replicas:  # it may have been away: a probe has to succeed first
            replica.window.failed(time.monotonic())
        return replica

    def _make(self, address: Address, role: str | None) -> InstanceT:
        noticed = _ignore if role is None else self._seek
        return self._instance_of(
            InstanceSpec(
                address, self._template, self.timeouts_for(role), role, noticed, self.quality
            )
        )

    def _instance_of(self, spec: InstanceSpec) -> InstanceT:
        raise NotImplementedError

    def _seek(
        self, instance: InstanceT | None, error: Exception, left: float | None = None
    ) -> None:
        """Find the master, or have it found; a new one arrives by `point_to`.

        Args:
            instance: that failed; None if no master was known.
            error: of the attempt.
            left: seconds until the deadline; None for no deadline.
        """
        raise NotImplementedError

    def instances(self) -> tuple[InstanceT | None, tuple[InstanceT, ...]]:
        """Return the master, if known, and the replicas."""
        return self.instance, self.replicas

    def timeouts_for(self, role: str | None) -> Timeouts:
        """Return the timeouts of an instance: a replica has half, so that another can be asked."""
        timeouts = self._timeouts
        if role is not None or timeouts.reply is None:
            return timeouts
        return replace(timeouts, reply=timeouts.reply / 2)


def _ignore(instance: object, error: Exception) -> None:
    """Do nothing when a replica does not serve: there is no other master to look for."""
