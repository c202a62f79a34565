"""The parts of one metaserver process, put together, and its background loops.

every process:  look for changes (wakes watches), note clients and tokens, statuses to streams
the leader:     monitor (events), sweeps, repair
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.pool.document import PoolDocument
from metaserver.api.call_limits import UnderWay
from metaserver.api.metrics import Counters
from metaserver.loops.leader_election import Leader
from metaserver.loops.monitor import Monitor
from metaserver.loops.repair import Repair
from metaserver.loops.sweep import Sweeper
from metaserver.process.clock import rfc3339
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.service.context import Control
from metaserver.service.tokens import Tokens
from metaserver.store import StorageError, Store
from metaserver.store.sqlite import SqliteStore
from metaserver.watch.change_hub import Hub
from metaserver.watch.client_registry import Clients

POLL = 0.25  # seconds between two looks for changes of other processes
RESTART = 2.0  # seconds until a loop that a fault ended starts again
LAST_STEPS = 1.5  # seconds for a failover to get through when the process is told to stop
HOUSEKEEPING = 10.0  # seconds between two notes of when tokens were used, and looks at the log

log = logging.getLogger("metaserver")


@dataclass(frozen=True)
class Runtime:
    """What requests share, and the loops beside them."""

    config: Config
    store: Store
    networks: AllowedNetworks
    control: Control
    tokens: Tokens
    clients: Clients
    hub: Hub
    monitor: Monitor
    leader: Leader
    counters: Counters
    under_way: UnderWay
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start the loops that every process runs, and stand for leader."""
        self._spawn("changes", self._look)
        self._spawn("housekeeping", self._housekeep)
        self._spawn("status", self._pass_on_statuses)
        threading.Thread(target=self._stand, name="leader", daemon=True).start()

    def stop(self) -> None:
        """End the loops, the streams, and every held watch; let writes that wait go on."""
        self.stopping.set()
        self.hub.stop()
        end = time.monotonic() + LAST_STEPS
        while self.control.failovers and time.monotonic() < end:
            time.sleep(0.02)

    def pools(self) -> Iterator[tuple[PoolDocument, dict[str, Any]]]:
        """Every pool with its status; one that is deleted meanwhile is left out.

        Raises:
            StorageError: the store cannot be read.
        """
        for document in self.store.documents():
            try:
                status = self.monitor.status(document.pool)
            except PoolNotFoundError:
                continue
            yield document, status

    def _spawn(self, name: str, loop: Callable[[threading.Event], None]) -> None:
        """Run a loop on a thread; should a fault end it, its traceback is printed and it starts
        again a little later."""

        def run() -> None:
            try:
                loop(self.stopping)
            finally:
                if not self.stopping.is_set():
                    log.error("the %s loop broke off; it starts again in %g s", name, RESTART)
                    threading.Timer(RESTART, self._spawn, (name, loop)).start()

        threading.Thread(target=run, name=name, daemon=True).start()

    def _stand(self) -> None:
        self.leader.lead(self.stopping, self._lead)

    def _lead(self) -> None:
        log.info("this process leads: it monitors, sweeps and repairs")
        sweeper = Sweeper(self.store, self.config, self.clients, networks=self.networks)
        repair = Repair(self.store, self.config, networks=self.networks)
        self._spawn("monitor", self.monitor.run)
        self._spawn("sweep", sweeper.run)
        self._spawn("repair", repair.run)

    def _look(self, stop: threading.Event) -> None:
        """Notice what other processes changed, and let them know what clients act on."""
        failing = False
        while not stop.wait(POLL):
            try:
                self.hub.refresh()
                self.clients.publish()
                failing = False
            except StorageError as error:
                if not failing:
                    log.error("looking for changes: %s", error)
                failing = True

    def _housekeep(self, stop: threading.Event) -> None:
        while not stop.wait(HOUSEKEEPING):
            try:
                self.tokens.flush()
                self.clients.forget_dead()
                if self.leader.is_leader:
                    self._prune_events()
            except StorageError as error:
                log.error("housekeeping: %s", error)

    def _prune_events(self) -> None:
        config = self.config
        since = rfc3339(max(0.0, time.time() - config.events_max_age))
        gone = self.store.prune_events(keep=config.events_max, since=since)
        if gone:
            log.info("removed the %d oldest entries of the audit log", gone)

    def _pass_on_statuses(self, stop: threading.Event) -> None:
        """Each new status of a pool goes to the streams that show it."""
        last: dict[str, dict[str, Any]] = {}
        while not stop.wait(POLL):
            try:
                pools = self.hub.streamed(self.store.versions())
                last = {pool: last.get(pool, {}) for pool in pools}
                for pool in pools:
                    status = self.monitor.status(pool)
                    if status["at"] != last[pool].get("at"):
                        last[pool] = status
                        self.hub.status(pool, status)
            except PoolNotFoundError:
                continue
            except StorageError as error:
                log.error("statuses: %s", error)
                stop.wait(self.config.status_interval)


def build(config: Config) -> Runtime:
    """Open the store and put the parts together; nothing runs yet.

    Raises:
        StorageError: the store cannot be used.
        ValueError: an allowed network is not one.
    """
    networks = AllowedNetworks(config.allowed_networks)
    store = SqliteStore(config.db)
    leader = Leader(config.db.with_name(f"{config.db.name}.leader"))
    clients = Clients(store, config.lease, per_token=config.max_clients)
    hub = Hub(store)
    stopping = threading.Event()
    monitor = Monitor(
        store,
        config,
        networks=networks,
        count_clients=clients.count,
    )
    return Runtime(
        config=config,
        store=store,
        networks=networks,
        control=Control(store, config, networks, monitor, hub.nudge, stopping=stopping),
        tokens=Tokens(store),
        clients=clients,
        hub=hub,
        monitor=monitor,
        leader=leader,
        counters=Counters(),
        under_way=UnderWay(config.max_clients),
        stopping=stopping,
    )
