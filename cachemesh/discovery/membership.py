"""The membership of a client among the clients of a pool, which share one follower."""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Mapping

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address
from cachemesh.core.policy import Policy, own_settings
from cachemesh.core.pool.topology import Topology
from cachemesh.core.pool.topology_health import TopologyHealth
from cachemesh.core.quality.report import ShardQuality
from cachemesh.core.resilience.retry import retry_until
from cachemesh.discovery.follower import Follower
from cachemesh.discovery.lease import NEVER_OVER
from cachemesh.discovery.source import LeasedSource
from cachemesh.discovery.url import MeshUrl
from cachemesh.transport.lease_clock import LeaseEnd

logger = logging.getLogger("cachemesh.discovery")

Listener = Callable[[Topology], None]


class _Followers:
    """The followers of this process. A forked child starts with none.

    Attributes:
        lock: guards ``running``.
        running: identity of a URL -> its follower.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: weakref.WeakValueDictionary[Hashable, Follower] = (
            weakref.WeakValueDictionary()
        )


_followers = _Followers()


class Membership:
    """Follows a pool for one client and those made from it. Threads may share one.

    The first use joins the follower of the same URL and options, or starts one; `close` leaves it,
    and so does a garbage collection; a later use joins again.

    Args:
        url: which pool to follow, and how.
        listener: called with each new topology, from any thread, one call at a time. A topology
            that another one follows soon may be skipped.
        drained: tells whether no command of the client is under way any more that was routed
            before a resize.

    Attributes:
        reporter: returns what clients felt of each shard since its last call.
        own_settings: the settings of the pool that the client's own options override.
    """

    def __init__(
        self, url: MeshUrl, listener: Listener, drained: Callable[[], bool] = lambda: True
    ) -> None:
        self._url = url
        self._listener = listener
        self._drained = drained
        self._with_replicas = False
        self.reporter: Callable[[], Mapping[str, ShardQuality]] = dict
        options = {**url.options, **url.policy}
        self.own_settings: Mapping[str, object] = own_settings(options)
        limit = Policy.of(options, {}).timeouts.reply
        self._retry_seconds = retry_until(math.inf if limit is None else limit, 0.0)
        self._start_over()
        _memberships.add(self)

    def _start_over(self) -> None:
        self._join_lock = threading.Lock()
        self._listener_lock = threading.Lock()
        self._delivered: Topology | None = None
        self._failed: Topology | None = None  # later than the one delivered: the listener failed
        self._follower: Follower | None = None
        self._key = -1

    def topology(self) -> Topology:
        """Return the present topology; see `Follower.topology`."""
        return self._loaded()[1]

    def deliver_to(self, listener: Listener) -> Topology:
        """Call ``listener`` with the present topology; no other change is delivered meanwhile.

        Returns:
            The topology delivered.

        Raises:
            As `topology`.
        """
        follower, _ = self._loaded()
        with self._listener_lock:
            topology = follower.topology()
            listener(topology)
            if self._delivered is None:
                self._delivered = topology
        self.catch_up()  # with changes that have come meanwhile
        return topology

    def close(self, leave: bool = True) -> None:
        """Stop following. A later use starts again.

        Args:
            leave: True leaves at once, which takes up to 0.5 s if nobody else follows. False
                leaves soon, which is safe within a garbage collection.
        """
        follower, self._follower = self._follower, None
        if follower is not None:
            if leave:
                follower.leave(self._key)
            else:
                follower.leave_soon(self._key)

    def look_up_master(
        self, shard: str, seen: Address | None, timeout: float | None = None
    ) -> Address | None:
        """Look up a master as `Follower.look_up_master` does, and deliver the change, if any.

        A closed membership returns ``seen``: only a use of the client joins again.
        """
        follower = self._follower
        if follower is None:
            return seen
        try:
            return follower.look_up_master(shard, seen, timeout)
        finally:
            self.catch_up(wait=True)

    def wait_for_master(self, shard: str, seen: Address | None, timeout: float) -> Address | None:
        """Wait as `Follower.wait_for_master` does, and deliver the change, if any.

        A closed membership returns ``seen``.
        """
        follower = self._follower
        if follower is None:
            return seen
        try:
            return follower.wait_for_master(shard, seen, timeout)
        finally:
            self.catch_up(wait=True)

    def advice(self, shard: str) -> str:
        """Return what a reader of an error about a shard can do, as the end of a sentence."""
        if self._url.scheme in ("cachemesh", "cachemeshs", "cachemesh+zk"):
            return f"see: cachemesh shard show {shard}"
        return f"ask a Sentinel: SENTINEL MASTER {shard}"

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Report a master as `Follower.report_master` has it, and deliver the change, if any.

        A closed membership does nothing.
        """
        follower = self._follower
        if follower is not None:
            follower.report_master(shard, seen, master)
            self.catch_up(wait=True)

    def want_replicas(self) -> None:
        """Look up replicas too from now on, also after a later `close` and use."""
        self._with_replicas = True
        follower = self._follower
        if follower is not None:
            follower.want_replicas()

    def lease_end(self, strict: bool) -> LeaseEnd:
        """Return when to ask a metaserver before the next command; it moves as it is renewed.

        Args:
            strict: False allows for some time after nobody has answered a question.
        """
        leased = self._leased
        if leased is None:
            return NEVER_OVER
        return leased.lease.strict if strict else leased.lease.lenient

    def renew_lease(self, seconds: float) -> bool:
        """Ask metaservers as `Follower.renew_lease` does, and deliver the change, if any.

        Returns:
            Whether the lease holds; True too if nothing is followed.
        """
        follower = self._follower
        if follower is None:
            return True
        try:
            return follower.renew_lease(seconds)
        finally:
            self.catch_up(wait=True)

    @property
    def acting_version(self) -> int | None:
        """The version that the clients act on; None if no metaserver knows them."""
        topology = self._delivered
        return None if topology is None or self._leased is None else topology.document.version

    def fetch(self, version: int) -> None:
        """Have a document fetched as `Follower.fetch` does, and deliver it."""
        follower = self._follower
        if follower is not None:
            follower.fetch(version)
            self.catch_up(wait=True)

    @property
    def client_id(self) -> str | None:
        """The id by which metaservers know this process now; None if they do not."""
        leased = self._leased
        return None if leased is None else leased.client_id

    @property
    def _leased(self) -> LeasedSource | None:
        follower = self._follower
        return None if follower is None else follower.leased

    @property
    def calls(self) -> int:
        """The number of exchanges with Sentinels so far; 0 while nothing is followed."""
        follower = self._follower
        return 0 if follower is None else follower.calls

    def health(self) -> TopologyHealth | None:
        """Return how current the topology is; None while nothing is followed."""
        follower = self._follower
        return None if follower is None else follower.health()

    def drained(self) -> bool:
        """Return whether nothing is under way that was routed before a resize.

        That is not known while the listener could not take over the present topology.
        """
        return self._failed is None and self._drained()

    def felt(self) -> Mapping[str, ShardQuality]:
        """Return what clients felt of each shard since the last call."""
        return self.reporter()

    def catch_up(self, wait: bool = False) -> None:
        """Deliver the present topology to the listener, unless that is done already.

        One that the listener could not take over is delivered again at the next call.

        Args:
            wait: return only once the topology is delivered. If False, a thread that is just
                delivering another one may deliver this one later.
        """
        failed = self._deliver_now() if wait else None
        while self._behind(failed) and self._listener_lock.acquire(blocking=False):
            try:
                failed = self._deliver()
            finally:
                self._listener_lock.release()

    def _deliver_now(self) -> Topology | None:
        """As `_deliver`. Another thread may leave a later topology to this one, see `catch_up`."""
        if not self._behind(None):
            return None
        with self._listener_lock:
            return self._deliver()

    def _behind(self, failed: Topology | None) -> bool:
        """Return whether there is a topology to be delivered, other than one that has failed."""
        follower = self._follower
        latest = None if follower is None else follower.latest
        return latest is not None and latest is not self._delivered and latest is not failed

    def _deliver(self) -> Topology | None:
        """Deliver the present topology; return it if the listener fails."""
        follower = self._follower
        topology = None if follower is None else follower.latest
        if topology is None or topology is self._delivered:
            return None
        try:
            self._listener(topology)
        except (CacheMeshError, redis.RedisError, OSError, RuntimeError) as error:
            if topology is not self._failed:
                logger.warning("a client cannot follow its pool, and tries again: %r", error)
            self._failed = topology
            return topology
        self._delivered = topology  # last: from now on the clients count as acting on it
        self._failed = None
        return None

    def _loaded(self) -> tuple[Follower, Topology]:
        while True:
            follower = self._joined()
            topology = follower.topology(self._retry_seconds)
            if not follower.ended:
                return follower, topology

    def _joined(self) -> Follower:
        follower = self._follower
        if follower is not None and not follower.ended:
            return follower
        with self._join_lock, _followers.lock:
            follower = self._follower
            if follower is not None and not follower.ended:
                return follower
            follower = _followers.running.get(self._url.identity)
            key = None if follower is None else follower.join(self)
            if follower is None or key is None:
                follower = Follower(
                    self._url.make_source(), self._url.sentinel_options, self._url.snapshot
                )
                key = follower.join(self)
                assert key is not None  # nobody can have left the new one
                _followers.running[self._url.identity] = follower
            if self._with_replicas:
                follower.want_replicas()
            self._key, self._follower = key, follower
            return follower


_memberships: weakref.WeakSet[Membership] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Start over: locks may be held by threads of the parent, which the child has not."""
    global _followers
    _followers = _Followers()
    for membership in list(_memberships):
        membership._start_over()


os.register_at_fork(after_in_child=_after_fork_in_child)


@atexit.register
def _leave_at_exit() -> None:
    """Tell the sources, also for clients that were not closed: a resize would wait for them."""
    for follower in list(_followers.running.values()):
        follower.end()
