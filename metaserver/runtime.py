"""The parts of one metaserver process, and its background loops.

every process   publishes changes, tokens' last use, and statuses for streams; takes part in the
                election of the leader
the leader      runs the monitor, the recorder of history, sweeps, repair and pruning, and posts
                events, while it leads
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.names import Address
from metaserver.api.backend import Backend
from metaserver.api.call_limits import CallLimits
from metaserver.api.metrics import Counters
from metaserver.api.refusals import RefusalLog
from metaserver.loops.fence_keeper import FenceKeeper
from metaserver.loops.history_recorder import HistoryRecorder
from metaserver.loops.monitor import Monitor
from metaserver.loops.repair import Repair
from metaserver.loops.resize import Resizer
from metaserver.loops.resize_shards import ResizeShards
from metaserver.loops.resized_clients import ResizeBells
from metaserver.loops.sentinel_changes import SentinelChanges
from metaserver.loops.source_moves import SourceMoves
from metaserver.loops.sweep import Sweeper
from metaserver.loops.term import RESTART, Loop, TermLoops
from metaserver.observing import Observer, source_of
from metaserver.process.clock import rfc3339
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.term_fence import TermFence
from metaserver.service.context import ServiceContext
from metaserver.service.tokens import Tokens
from metaserver.store import Lead, StorageError, Store
from metaserver.store.history_file import HistoryFile
from metaserver.store.opening import open_store
from metaserver.watch.change_hub import ChangeHub
from metaserver.watch.client_registry import ClientRegistry
from metaserver.watch.participants import RegisteredClients
from metaserver.watch.quality_board import QualityBoard
from metaserver.webhooks.endpoint import Endpoint
from metaserver.webhooks.figures import WebhookFigures
from metaserver.webhooks.sender import WebhookSender
from metaserver.webhooks.target import targets_of

POLL = 0.25  # seconds between two polls for changes of other processes
LAST_STEPS = 1.5  # seconds for a failover to finish when the process is told to stop
HOUSEKEEPING = 10.0  # seconds between two rounds of `_keep_house`

log = logging.getLogger("metaserver")


@dataclass(frozen=True)
class Runtime:
    """What requests share, and the background loops."""

    config: Config
    networks: AllowedNetworks
    backend: Backend
    stopping: threading.Event = field(default_factory=threading.Event)
    _out_of_office: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Start the loops that every process runs, and take part in the election of the leader."""
        self._spawn("changes", self._publish_changes)
        self._spawn("clients", partial(self.backend.clients.publish_until, every=POLL))
        self._spawn("quality", self.backend.quality.exchange_until)
        self._spawn("housekeeping", self._keep_house)
        self._spawn("status", self._publish_statuses)
        self._spawn("registration", self._register)
        self._spawn("election", self._take_part)

    def stop(self) -> None:
        """End the loops, the streams and held watch calls; let failovers in progress finish.

        A leader gives the lead away: another process need not wait until it misses this one.
        """
        self.stopping.set()
        self.backend.hub.stop()
        end = time.monotonic() + LAST_STEPS
        while self.backend.context.failovers and time.monotonic() < end:
            time.sleep(0.02)
        self._out_of_office.wait(max(0.0, end - time.monotonic()))
        self.backend.monitor.stop(max(0.0, end - time.monotonic()))

    def _spawn(self, name: str, loop: Loop) -> None:
        """Run a loop on a thread; if an exception ends the loop, it starts again after RESTART."""

        def run() -> None:
            try:
                loop(self.stopping)
            finally:
                if not self.stopping.is_set():
                    log.error("the %s loop broke off; it starts again in %g s", name, RESTART)
                    threading.Timer(RESTART, self._spawn, (name, loop)).start()

        threading.Thread(target=run, name=name, daemon=True).start()

    def _register(self, stop: threading.Event) -> None:
        """Add this process to those of the store, as soon as the store can be written."""
        config, owner = self.config, self.backend.context.owner
        host = socket.gethostname() if config.host in ("0.0.0.0", "::", "") else config.host
        address = config.advertise or str(Address(host, config.port))
        if config.serves_tls:  # so that nobody sends a token there in clear text
            address = f"https://{address}"
        while not stop.is_set():
            try:
                self.backend.store.register(owner, address)
                stop.wait()
            except StorageError as error:
                log.error("registering this process: %s", error)
                stop.wait(HOUSEKEEPING)

    def _take_part(self, stop: threading.Event) -> None:
        terms = TermLoops(self._loops_of, stop)
        self._out_of_office.clear()
        try:
            self.backend.election.run(stop, terms.run)
        finally:
            self._out_of_office.set()

    def _loops_of(self, lead: Lead) -> Mapping[str, Loop]:
        """Return the loops of a term, on the store that refuses their writes once it is over."""
        log.info("this process leads (term %d): it monitors, resizes and repairs", lead.epoch)
        backend, store = self.backend, self.backend.store.fenced(lead.epoch)
        history = HistoryRecorder(
            store, backend.monitor.observed, backend.quality.between, backend.history
        )
        if self.config.observe is not None:
            return {
                "monitor": partial(backend.monitor.run, store=store),
                "history": history.run,
                "observe": Observer(store, source_of(self.config)).run,
                "pruning": partial(self._prune_events, store),
                **self._senders(store),
            }
        sweeper = Sweeper(
            store, self.config, backend.clients, networks=self.networks, epoch=lead.epoch
        )
        clients = RegisteredClients(backend.clients)
        term = TermFence(lead.epoch, store.check_writable)
        shards = ResizeShards(self.config, self.networks, term)
        resizer = Resizer(
            store,
            clients,
            shards,
            SourceMoves(self.config, self.networks, term),
            changed=backend.context.changed,
            bells=backend.resize_bells,
        )
        keeper = FenceKeeper(store, clients, shards, changed=backend.context.changed)
        return {
            "resize": resizer.run,
            "fences": keeper.run,
            "monitor": partial(backend.monitor.run, store=store),
            "history": history.run,
            "sweep": sweeper.run,
            "repair": Repair(store, self.config, networks=self.networks).run,
            "sentinels": SentinelChanges(
                store, self.config, networks=self.networks, changed=backend.context.changed
            ).run,
            "pruning": partial(self._prune_events, store),
            **self._senders(store),
        }

    def _senders(self, store: Store) -> Mapping[str, Loop]:
        """Return the loops that post events, by name."""
        options, figures = self.config.event_webhooks, self.backend.webhooks
        return {
            f"events to {target.name}": WebhookSender(
                store, target, Endpoint(target, options.ca_file), options.secret, counted
            ).run
            for target, counted in zip(targets_of(options.urls), figures, strict=True)
        }

    def _publish_changes(self, stop: threading.Event) -> None:
        """Pass changes of other processes on."""
        failing = False
        while not stop.wait(POLL):
            try:
                self.backend.hub.refresh()
                failing = False
            except StorageError as error:
                if not failing:
                    log.error("looking for changes: %s", error)
                failing = True

    def _keep_house(self, stop: threading.Event) -> None:
        """Store when tokens were used, and take over the clients of dead processes."""
        while not stop.wait(HOUSEKEEPING):
            try:
                self.backend.refusals.flush()
                self.backend.tokens.flush()
                self.backend.clients.forget_dead()
                self.backend.quality.forget_all_but(self.backend.store.versions())
            except StorageError as error:
                log.error("housekeeping: %s", error)

    def _prune_events(self, store: Store, stop: threading.Event) -> None:
        """Bound the audit log."""
        config = self.config
        while not stop.wait(HOUSEKEEPING):
            since = rfc3339(max(0.0, time.time() - config.events_max_age))
            try:
                gone = store.prune_events(keep=config.events_max, since=since)
            except StorageError as error:
                log.error("bounding the audit log: %s", error)
                continue
            if gone:
                log.info("removed the %d oldest entries of the audit log", gone)

    def _publish_statuses(self, stop: threading.Event) -> None:
        """Pass each new status of a pool on to the streams that show it."""
        last: dict[str, dict[str, Any]] = {}
        hub, monitor = self.backend.hub, self.backend.monitor
        while not stop.wait(POLL):
            try:
                pools = hub.streamed(self.backend.store.versions())
                last = {pool: last.get(pool, {}) for pool in pools}
                for pool in pools:
                    status = monitor.status(pool)
                    if status["at"] != last[pool].get("at"):
                        last[pool] = status
                        hub.publish_status(pool, status)
            except PoolNotFoundError:
                continue
            except StorageError as error:
                log.error("statuses: %s", error)
                stop.wait(self.config.status_interval)


def build(config: Config) -> Runtime:
    """Open the store and connect the parts; no loop runs yet.

    Raises:
        StorageError: the store cannot be used.
        ValueError: an allowed network is not valid.
    """
    networks = AllowedNetworks(config.allowed_networks)
    store = open_store(config)
    clients = ClientRegistry(store, config.lease, per_token=config.max_clients)
    hub = ChangeHub(store)
    stopping = threading.Event()
    bells = ResizeBells()

    def changed() -> None:
        hub.nudge()
        bells.changed.ring()

    monitor = Monitor(store, config, networks=networks, count_clients=clients.count_all)
    context = ServiceContext(store, config, networks, monitor, changed, stopping=stopping)
    backend = Backend(
        store=store,
        context=context,
        tokens=Tokens(store),
        clients=clients,
        hub=hub,
        quality=QualityBoard(store, config.lease),
        monitor=monitor,
        history=HistoryFile(config.history_path),
        election=store.election(context.owner),
        counters=Counters(),
        resize_bells=bells,
        call_limits=CallLimits(config.max_clients, config.max_rate),
        refusals=RefusalLog(),
        webhooks=tuple(
            WebhookFigures(each.name) for each in targets_of(config.event_webhooks.urls)
        ),
    )
    return Runtime(config, networks, backend, stopping)
