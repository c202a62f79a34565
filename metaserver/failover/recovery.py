"""Resolving failovers whose metaserver died, or could not resolve them in time."""

from __future__ import annotations

import logging
import threading
import time

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.pool_state import Failover
from metaserver.failover.handover import PROMOTION, Handover, Timings
from metaserver.failover.participants import Participants
from metaserver.failover.resolution import Resolution, resolve
from metaserver.failover.saved_settings import SavedSettings, restore
from metaserver.failover.unresolved import StillMaster
from metaserver.process.clock import ElapsedTimes
from metaserver.process.config import Config
from metaserver.process.identity import process_is_alive
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.store import Store

log = logging.getLogger("metaserver")

_GIVE_UP = 300.0  # seconds after which a failover ends with whatever could not be restored


class Recovery:
    """Resolves the failovers that no process carries out any more."""

    def __init__(self, store: Store, config: Config, networks: AllowedNetworks) -> None:
        self._store = store
        self._config = config
        self._networks = networks
        self._unattended = ElapsedTimes()  # failovers that no process carries out, by id
        self._reported: set[int] = set()  # ids of failovers with an event that asks an operator

    def run(self, stop: threading.Event) -> None:
        """Try once to resolve every unattended failover, until `stop` is set.

        Raises:
            StorageError: the store cannot be read or written.
        """
        failovers = self._store.failovers()
        self._reported &= {failover.id for failover in failovers}
        live = {each.owner for each in self._store.metaservers()} if failovers else ()
        unattended = [each for each in failovers if not process_is_alive(each.owner, live)]
        self._unattended.keep({failover.id for failover in unattended})
        for failover in unattended:
            if stop.is_set():
                return
            self._resolve(failover, last=self._unattended.since_first(failover.id) >= _GIVE_UP)

    def _resolve(self, failover: Failover, *, last: bool) -> None:
        try:
            resolution = self._resolution(failover)
        except StillMaster as error:  # never given up: the fence must not stay without a record
            self._report(failover, error)
            return
        except (redis.RedisError, CacheMeshError) as error:
            log.warning("failover of %s: not resolved yet: %s", failover.shard, error)
            if last:
                self._end(failover, Resolution(failover.master, False, False, [str(error)]))
            return
        if last or (resolution.silent_sentinel is None and not resolution.unrestored):
            self._end(failover, resolution)
        else:
            log.warning("failover of %s: %s", failover.shard, remaining(resolution))

    def _resolution(self, failover: Failover) -> Resolution:
        saved = SavedSettings.from_dict(failover.saved_settings)
        with Participants.from_addresses(
            self._config,
            self._networks,
            failover.shard,
            failover.master,
            saved.replicas,
            failover.sentinels,
        ) as participants:
            if not saved.leader:  # the search for a leader was not over: no writes waited
                return Resolution(failover.master, False, True, restore(participants, saved))
            timings = Timings(began=time.monotonic())
            return resolve(
                Handover(
                    participants,
                    saved,
                    fence=0,
                    timings=timings,
                    started=True,
                    promotion_wait=PROMOTION,
                )
            )

    def _report(self, failover: Failover, error: StillMaster) -> None:
        log.warning("failover of %s: %s; %s", failover.shard, error, error.next_step)
        if failover.id not in self._reported:
            self._reported.add(failover.id)
            why = f"{error}; {error.next_step}"
            self._store.record_event(
                failover_event(failover, Resolution(error.promoted, True, True), "system", why)
            )

    def _end(self, failover: Failover, resolution: Resolution) -> None:
        event = failover_event(
            failover, resolution, "system", "the metaserver that began it broke off"
        )
        self._store.end_failover(failover.id, event, master=resolution.master)
        log.info("%s: %s", event.action, event.detail)


def failover_event(
    failover: Failover,
    resolution: Resolution,
    actor: str,
    why: str | None = None,
    after: dict[str, object] | None = None,
) -> NewEvent:
    """Return the entry for the audit log.

    Args:
        why: what went wrong, if anything did.
        after: further members of the event's `after`.
    """
    old, new, shard = failover.master, resolution.master, failover.shard
    if resolution.promoted:
        detail = f"{new} is master of {shard} in place of {old}"
    else:
        detail = f"{old} stays master of {shard}"
    parts = [
        detail,
        *([why] if why else []),
        *([remaining(resolution)] if remaining(resolution) else []),
    ]
    return NewEvent(
        "shard.failover" if resolution.promoted else "shard.failover-undone",
        actor,
        failover.pool,
        shard,
        "; ".join(parts),
        {"master": old},
        {"master": new, **(after or {})},
    )


def remaining(resolution: Resolution) -> str:
    """Say what could not be restored or agreed; "" if nothing is left."""
    found = list(resolution.unrestored)
    if resolution.silent_sentinel is not None:
        found.append(
            f"Sentinel {resolution.silent_sentinel} does not answer; it has to give the failover up"
        )
    if not resolution.agreed:
        found.append("the Sentinels do not all say so yet")
    return "; ".join(found)
