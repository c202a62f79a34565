"""The registry of clients that watch a pool through any process: their versions and leases.

Each process has a table of its own clients (`ClientTable`), and publishes it in the store for the
others: when it changes, and from time to time as a sign of life.

    watch call --> table --publish()--> store.acks() --> all_acknowledged(), laggards(),
                                                         convergence(), clients()

A process that publishes no more may be dead, hung or cut off. Its clients count as live for a lease
after its last sign of life, as they may still act on the version that it gave them. So a process
that starts anew waits a lease out before it believes that it knows every client, unless the store
shows that no earlier process had any.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from metaserver.domain.client_reports import (
    LISTED,
    AcknowledgedIds,
    ClientReport,
    KnownClient,
    Laggard,
    acknowledged_ids,
    convergence,
    count_live,
    known_clients,
    laggards,
)
from metaserver.process.clock import ElapsedTimes
from metaserver.process.identity import process_identity, process_is_alive
from metaserver.process.turns import let_others_run
from metaserver.store import StorageError, Store
from metaserver.watch.client_table import ClientTable, shown

_SIGN_OF_LIFE = 10.0  # seconds between two publications without a change
_MOST_LAGGARDS = 100  # named by `convergence`
_COUNT_EVERY = 2.0  # seconds between two counts of the clients of other processes
_LONGEST_REST = 0.5  # seconds after a publication; a new client waits up to a second for one
_BUSY_SHARE = 0.1  # of the time that publishing may take at most


log = logging.getLogger("metaserver")


class ClientRegistry(ClientTable):
    """The clients of all processes on one store; greenlets may share it.

    Args:
        store: through which processes tell each other of their clients.
        lease: seconds for which a client counts as live after a watch call.
        per_token: live clients that one token may have on this process, over all pools.
        owner: the `process_identity()` of this process.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        lease: float,
        *,
        per_token: int = 10_000,
        owner: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(lease, per_token, owner or process_identity(), clock)
        self._store = store
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._wanted = threading.Event()
        self._published = False  # of any client
        self._published_at = 0.0
        self._published_changes = -1
        self._elsewhere: tuple[float, Counter[str]] | None = None
        self._silence = ElapsedTimes(clock)  # since the last sign of life of other processes

    def all_acknowledged(self, pool: str, version: int) -> bool:
        """Return whether every live client of the pool, on any process, acts on `version` or later.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        return all(each.lease_over for each in self.laggards(pool, version))

    def laggards(self, pool: str, version: int) -> list[Laggard]:
        """Return the clients of the pool, on any process, that have not acknowledged `version`.

        A client whose lease is over stays among them for a day, until it acknowledges or says that
        it follows no more: it may be frozen, or cut off from the metaservers but not from the
        shards. Clients that a process has not named, because it has so many, come last.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        return laggards(self._reports(pool), version)

    def acknowledged(self, pool: str, version: int) -> AcknowledgedIds:
        """Return the ids of the clients of the pool, on any process, that acknowledged `version`.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        return acknowledged_ids(self._reports(pool), version)

    def convergence(self, pool: str, version: int) -> dict[str, Any]:
        """Return how many clients act on which version, and which lag, as docs/api.md shows it.

        Args:
            version: that of the pool's document.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        found = convergence(self._reports(pool), version, _MOST_LAGGARDS)
        addresses = self._addresses()
        return {
            "pool": pool,
            **found,
            "laggards": [shown(each, addresses) for each in found["laggards"]],
        }

    def clients(self, pool: str) -> tuple[list[KnownClient], Mapping[str, str]]:
        """Return the live clients of the pool on any process, those heard last at the end.

        Returns:
            The clients; and the addresses of the live processes, by `process_identity()`.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        live = [each for each in known_clients(self._reports(pool)) if each.live]
        return live, self._addresses()

    def count_all(self, pool: str) -> int:
        """Return how many clients of the pool are live on any process, as of a moment ago.

        A client that has just gone over to another process may count twice; `clients` is exact.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        now = self._clock()
        if self._elsewhere is None or now - self._elsewhere[0] >= _COUNT_EVERY:
            found: Counter[str] = Counter()
            for published in self._others().values():
                for name, report in published["pools"].items():
                    if not published["over"]:
                        found[name] += count_live(report)
            self._elsewhere = now, found
        return self.count(pool) + self._elsewhere[1][pool]

    def _addresses(self) -> dict[str, str]:
        return {each.owner: each.address for each in self._store.metaservers()}

    def _own_report(self, pool: str, listed: int) -> ClientReport:
        return ClientReport.of([*self.live(pool), *self.lapsed(pool)], self.left(pool), listed)

    def _reports(self, pool: str) -> list[ClientReport]:
        reports = [self._own_report(pool, 2 * LISTED + self._per_token)]
        for owner, published in self._others().items():
            if pool in published["pools"]:
                report = ClientReport.from_json(published["pools"][pool], owner)
                reports.append(report.without_leases() if published["over"] else report)
        return reports

    def _others(self) -> dict[str, dict[str, Any]]:
        """Return what other processes have published, and whether the leases in it are over."""
        every = {
            owner: found for owner, found in self._store.acks().items() if owner != self._owner
        }
        alive = [each.owner for each in self._store.metaservers()] if every else []
        others = {}
        for owner, found in every.items():
            pools, sign = found.get("pools"), (owner, repr(found.get("at")))
            lives = process_is_alive(owner, alive)
            limit = self.lease + (2 * _SIGN_OF_LIFE if lives else 0.0)
            others[owner] = {
                "pools": pools if isinstance(pools, dict) else {},
                "sign": sign,
                "over": self._silence.since_first(sign) >= limit,
                "alive": lives,
            }
        return others

    def publish(self) -> None:
        """Publish what this process knows of its clients, if that changed, or as a sign of life.

        Raises:
            StorageError: the store cannot be written; the next call tries again.
        """
        with self._publishing:  # or an older table could replace a newer one
            due = self._clock() - self._published_at >= _SIGN_OF_LIFE
            if self.changes == self._published_changes and not (due and self._published):
                return
            names = sorted(self.pools())
            wanted, left, pools = self.changes, LISTED, {}
            for pool in names:
                report = self._own_report(pool, left)
                left -= len(report.clients)
                let_others_run()
                pools[pool] = report.to_json()
                let_others_run()
            self._store.publish_acks(self._owner, {"at": time.time(), "pools": pools})
            self._published, self._published_at = bool(pools), self._clock()
            with self._changed:
                self._published_changes = wanted
                self._changed.notify_all()

    def publish_until(self, stop: threading.Event, every: float) -> None:
        """Publish each change soon, until `stop` is set. The body of a thread.

        Args:
            every: seconds between two looks for changes that nobody waits for.
        """
        while not stop.is_set():
            self._wanted.wait(every)
            self._wanted.clear()  # before it is looked at what to publish
            began = time.monotonic()
            try:
                self.publish()
            except StorageError as error:
                log.warning("publishing the clients of this process: %s", error)
                stop.wait(every)
                continue
            stop.wait(min(_LONGEST_REST, (time.monotonic() - began) / _BUSY_SHARE))

    def wait_published(self, seconds: float) -> bool:
        """Have the table published, and wait for that. False: not within so many seconds.

        Once a process has published a new client, every process that changes a document later knows
        of the client: so the client may be given the document.
        """
        wanted, deadline = self.changes, time.monotonic() + seconds
        self._wanted.set()
        with self._changed:
            return self._changed.wait_for(
                lambda: self._published_changes >= wanted, deadline - time.monotonic()
            )

    def forget_dead(self) -> None:
        """Take over what remains of processes that died more than a lease ago.

        Raises:
            StorageError: the store cannot be read or written; the next call tries again.
        """
        others = self._others()
        self._silence.keep({each["sign"] for each in others.values()})
        for owner, found in others.items():
            reports = {
                pool: ClientReport.from_json(published, owner)
                for pool, published in found["pools"].items()
            }
            if found["over"] and not found["alive"]:
                for pool, report in reports.items():
                    self.adopt(pool, report.clients)
                self.publish()
                self._store.forget_acks(owner)
            elif not found["over"]:
                for pool, report in reports.items():
                    live = {each.key for each in report.clients if each.live}
                    self.forget_elsewhere(pool, live, report.left)
