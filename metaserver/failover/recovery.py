"""Settling a failover whose metaserver died, or could not settle it in time."""

from __future__ import annotations

import logging
import time

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.failover.handover import PROMOTION, Handover, Timings
from metaserver.failover.participants import Side
from metaserver.failover.resolution import Settled, settle
from metaserver.failover.saved_settings import Notes, put_back
from metaserver.failover.unresolved import StillMaster
from metaserver.loops.leader_election import process_is_alive
from metaserver.process.clock import Ages
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.store import Failover, NewEvent, Store

log = logging.getLogger("metaserver")

_FOR = 300.0  # seconds after which what is still missing is given up, and said so


class Recovery:
    """Settles the failovers that nobody carries on; `networks` are those of the instances."""

    def __init__(self, store: Store, config: Config, networks: AllowedNetworks) -> None:
        self._store = store
        self._config = config
        self._networks = networks
        self._alone = Ages()  # failovers that nobody carries on, by id
        self._told: set[int] = set()  # failovers that wait for an operator, who was told so

    def run(self) -> None:
        """One round.

        Raises:
            StorageError: the store does not answer.
        """
        failovers = self._store.failovers()
        self._told &= {failover.id for failover in failovers}
        alone = [each for each in failovers if not process_is_alive(each.owner)]
        self._alone.keep({failover.id for failover in alone})
        for failover in alone:
            self._settle(failover, last=self._alone.of(failover.id) >= _FOR)

    def _settle(self, failover: Failover, *, last: bool) -> None:
        try:
            settled = self._settled(failover)
        except StillMaster as error:  # never given up, as the fence must not stay without a note
            self._tell(failover, error)
            return
        except (redis.RedisError, CacheMeshError) as error:
            log.warning("failover of %s: not settled yet: %s", failover.shard, error)
            if last:
                self._end(failover, Settled(failover.master, False, False, [str(error)]))
            return
        if last or (settled.watch is None and not settled.left):
            self._end(failover, settled)
        else:
            log.warning("failover of %s: %s", failover.shard, missing(settled))

    def _settled(self, failover: Failover) -> Settled:
        notes = Notes.from_dict(failover.notes)
        with Side.of(
            self._config,
            self._networks,
            failover.shard,
            failover.master,
            notes.replicas,
            failover.sentinels,
        ) as side:
            if not notes.leader:  # it was still looking for one: nobody's writes waited
                return Settled(failover.master, False, True, put_back(side, notes))
            timings = Timings(began=time.monotonic())
            return settle(
                Handover(side, notes, fence=0, timings=timings, told=True, patience=PROMOTION)
            )

    def _tell(self, failover: Failover, error: StillMaster) -> None:
        log.warning("failover of %s: %s; %s", failover.shard, error, error.next_step)
        if failover.id not in self._told:
            self._told.add(failover.id)
            why = f"{error}; {error.next_step}"
            self._store.record_event(
                told(failover, Settled(error.promoted, True, True), "system", why)
            )

    def _end(self, failover: Failover, settled: Settled) -> None:
        event = told(failover, settled, "system", "the metaserver that began it broke off")
        self._store.end_failover(failover.id, event, master=settled.master)
        log.info("%s: %s", event.action, event.detail)


def told(
    failover: Failover,
    settled: Settled,
    actor: str,
    why: str | None = None,
    after: dict[str, object] | None = None,
) -> NewEvent:
    """The entry in the audit log; `why` is what went wrong, if anything did."""
    old, new, shard = failover.master, settled.master, failover.shard
    if settled.promoted:
        detail = f"{new} is master of {shard} in place of {old}"
    else:
        detail = f"{old} stays master of {shard}"
    parts = [detail, *([why] if why else []), *([missing(settled)] if missing(settled) else [])]
    return NewEvent(
        "shard.failover" if settled.promoted else "shard.failover-undone",
        actor,
        failover.pool,
        shard,
        "; ".join(parts),
        {"master": old},
        {"master": new, **(after or {})},
    )


def missing(settled: Settled) -> str:
    """What is not as it should be, in words; empty if all is."""
    found = list(settled.left)
    if settled.watch is not None:
        found.append(f"Sentinel {settled.watch} does not answer; it has to give the failover up")
    if not settled.agreed:
        found.append("the Sentinels do not all say so yet")
    return "; ".join(found)
