"""A client's membership in the one `Follower` that all clients of a pool in this process share."""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import weakref
from collections.abc import Callable, Hashable

import redis

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address
from cachemesh.core.policy import Policy
from cachemesh.core.pool.topology import Topology
from cachemesh.core.resilience.retry import retry_until
from cachemesh.discovery.follower import Follower
from cachemesh.discovery.topology_state import TopologySubscriber
from cachemesh.discovery.url import MeshUrl

logger = logging.getLogger("cachemesh.discovery")

Listener = Callable[[Topology], None]


class _Followers:
    """The followers of this process, by what they follow. A forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: weakref.WeakValueDictionary[Hashable, Follower] = (
            weakref.WeakValueDictionary()
        )


_followers = _Followers()
_keys = itertools.count()


class Membership:
    """Connects one client, and the clients made from it, to the follower of its pool. Thread-safe.

    The first use joins the follower that clients of the same pool and options share, or starts one.
    `close` leaves, and so does garbage collection of the membership. A use after `close` joins
    again.

    Args:
        url: the pool, and how to reach it.
        listener: called with each new topology, from any thread, one call at a time. A topology
            that another soon follows may be skipped.
    """

    def __init__(self, url: MeshUrl, listener: Listener) -> None:
        self._url = url
        self._listener = listener
        self._with_replicas = False
        limit = Policy.of({**url.options, **url.policy}, {}).timeouts.reply
        self._retry_seconds = retry_until(math.inf, 0.0) if limit is None else limit
        self._start_over()
        _memberships.add(self)

    def _start_over(self) -> None:
        self._joining = threading.Lock()
        self._telling = threading.Lock()
        self._told: Topology | None = None
        self._follower: Follower | None = None
        self._key = -1

    def topology(self) -> Topology:
        """Return the current topology, as `Follower.topology` does."""
        return self._loaded()[1]

    def tell(self, listener: Listener) -> Topology:
        """Call ``listener`` with the current topology; no other change is announced meanwhile.

        Args:
            listener: takes the topology.

        Returns:
            The topology that ``listener`` got.

        Raises:
            CacheMeshError, redis.ConnectionError: as `topology`.
        """
        follower, _ = self._loaded()
        with self._telling:
            topology = follower.topology()
            listener(topology)
        self.catch_up()  # changes since may not have been announced
        return topology

    def close(self, leave: bool = True) -> None:
        """Stop following. A later use starts again.

        Args:
            leave: leave at once; the last subscriber also tells the source, for up to 0.5 s. False
                leaves soon, from another thread, which is safe within a garbage collection.
        """
        follower, self._follower = self._follower, None
        if follower is not None:
            if leave:
                follower.leave(self._key)
            else:
                follower.leave_soon(self._key)

    def look_up_master(
        self, shard: str, seen: Address | None, seconds: float | None = None
    ) -> Address | None:
        """Ask Sentinel as `Follower.look_up_master`. The listener is told before this returns.

        After `close`, this method and those below do nothing: only a use of the client joins again.
        """
        follower = self._follower
        if follower is None:
            return seen
        try:
            return follower.look_up_master(shard, seen, seconds)
        finally:
            self._await_news()

    def wait_for_master(self, shard: str, seen: Address | None, seconds: float) -> Address | None:
        """Wait as `Follower.wait_for_master`. The listener is told before this returns."""
        follower = self._follower
        if follower is None:
            return seen
        try:
            return follower.wait_for_master(shard, seen, seconds)
        finally:
            self._await_news()

    def advice(self, shard: str) -> str:
        """Return a hint for an error message: how a person looks at a shard.

        Args:
            shard: name of the shard.

        Returns:
            The end of a sentence.
        """
        if self._url.scheme == "cachemesh":
            return f"see: cachemesh shard show {shard}"
        return f"ask a Sentinel: SENTINEL MASTER {shard}"

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Route as `Follower.report_master`. The listener is told before this returns."""
        follower = self._follower
        if follower is not None:
            follower.report_master(shard, seen, master)
            self._await_news()

    def want_replicas(self) -> None:
        """Look for replicas too, as `Follower.want_replicas`; also valid before the first use."""
        self._with_replicas = True
        follower = self._follower
        if follower is not None:
            follower.want_replicas()

    @property
    def calls(self) -> int:
        """How many exchanges with Sentinels there were; 0 while the client does not follow."""
        follower = self._follower
        return 0 if follower is None else follower.calls

    def catch_up(self, wait: bool = False) -> None:
        """Tell the listener of the current topology, unless the listener has it.

        Args:
            wait: return only once the listener has been told. False leaves that to a thread that is
                telling the listener just now, if there is one.
        """
        if wait:
            self._await_news()
        while self._behind() and self._telling.acquire(blocking=False):
            try:
                self._tell_news()
            finally:
                self._telling.release()

    def _await_news(self) -> None:
        if self._behind():
            with self._telling:
                self._tell_news()

    def _behind(self) -> bool:
        follower = self._follower
        return follower is not None and follower.latest is not self._told

    def _tell_news(self) -> None:
        follower = self._follower
        topology = None if follower is None else follower.latest
        if topology is None or topology is self._told:
            return
        self._told = topology
        try:
            self._listener(topology)
        except (CacheMeshError, redis.RedisError, OSError, RuntimeError) as error:
            logger.warning("a client cannot follow its pool: %r", error)

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
        with self._joining, _followers.lock:
            follower = self._follower
            if follower is not None and not follower.ended:
                return follower
            follower, key = _followers.running.get(self._url.identity), next(_keys)
            if follower is None or not follower.join(key, self._reference(follower, key)):
                follower = Follower(self._url.source, self._url.sentinel_options)
                follower.join(key, self._reference(follower, key))
                _followers.running[self._url.identity] = follower
            if self._with_replicas:
                follower.want_replicas()
            self._key, self._follower = key, follower
            return follower

    def _reference(self, follower: Follower, key: int) -> Callable[[], TopologySubscriber | None]:
        leave_soon = follower.leave_soon
        return weakref.ref(self, lambda _: leave_soon(key))


_memberships: weakref.WeakSet[Membership] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    """Start over in a forked child: the locks and threads are the parent's."""
    global _followers
    _followers = _Followers()
    for membership in list(_memberships):
        membership._start_over()


os.register_at_fork(after_in_child=_after_fork_in_child)
