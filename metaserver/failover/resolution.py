"""After a failure, or a metaserver's death: the shard gets one master, and its writes go on.

a replica was promoted, and a Sentinel is about to say so, or does   --> finish
a Sentinel still waits for the promotion                             --> make it give up
no Sentinel is at it, and they say the old master                    --> go back
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.failover.handover import AGREE, CATCH_UP, PAUSE, POLL, Handover, agree
from metaserver.failover.participant_sentinel import Watcher
from metaserver.failover.participants import wait_for
from metaserver.failover.saved_settings import put_back
from metaserver.failover.unresolved import StillMaster, Unsettled
from metaserver.redis_io.connection import reason_of

log = logging.getLogger("metaserver")

TAKES = 8.0  # seconds; what is not settled by then, repair goes on with
SILENT = 3.5
"""Seconds after which a Sentinel that does not answer is no longer waited for.

By then it has given up the promotion (`leader.GIVES_UP`), or it was stopped: one that was stopped
for over 2 s does nothing but answer for the 30 s after (TILT), time enough for repair to reset it.
"""
_STUCK = 1.0  # seconds after which a Sentinel that does not give up is reset
_CALM = 1.0  # seconds for the Sentinels to see the master again after a long pause


@dataclass(frozen=True)
class Settled:
    """Who is master now, and what could not be put back, in words.

    `agreed` is whether the Sentinels say so too. `watch` names a Sentinel that may still be at
    the failover, as it does not answer.
    """

    master: str
    promoted: bool
    agreed: bool
    left: list[str] = field(default_factory=list)
    watch: str | None = None


def settle(handover: Handover) -> Settled:
    """Find out what became of it, and finish or go back.

    Raises:
        StillMaster: a replica was promoted, and the old master does not become one; it keeps its
            fence.
        Unsettled: the master or the Sentinels do not let that happen now.
    """
    side, began, stopped = handover.side, time.monotonic(), False
    if not handover.told:
        return _go_back(handover, None)
    while time.monotonic() - began < TAKES:
        passed = time.monotonic() - began
        promoted = side.promoted()
        busy = side.ask(Watcher.in_progress)
        at_it = any(answer is True for answer in busy.values())
        silent = isinstance(busy.get(handover.notes.leader), redis.RedisError)
        if promoted is not None and promoted in side.ask(Watcher.master).values():
            return _finish(handover, promoted)
        # A Sentinel that was told to stop may have missed a promotion of this very moment.
        if promoted is not None and not stopped and (at_it or silent):
            return _finish(handover, promoted)
        if not at_it and (not silent or _silent_for_long(handover, passed)):
            return _by_word(handover, promoted, handover.notes.leader if silent else None)
        if at_it and passed >= handover.patience:
            _stop_them(handover, busy, stuck=passed > handover.patience + _STUCK)
            stopped = True
        time.sleep(0.02)
    raise Unsettled(f"shard {side.shard}: a Sentinel is still at its failover")


def conclude(handover: Handover, promoted: str) -> Settled:
    """Once the old master is a replica: the Sentinels agree, and all is put back.

    Raises:
        Unsettled: as `settle`.
    """
    side = handover.side
    agreed = agree(side, handover.notes, promoted, lambda: handover.timings.mark("announced"))
    if not agreed and side.said_master() == side.master.address:
        return _by_word(handover, promoted)
    return Settled(promoted, True, agreed, put_back(side, handover.notes, promoted))


def _by_word(handover: Handover, promoted: str | None, watch: str | None = None) -> Settled:
    """No Sentinel is at it: who they say is master has to be it."""
    side = handover.side
    try:
        standing = side.master.standing()
    except redis.RedisError as error:
        moved = _moved(handover)
        if moved is None:
            raise Unsettled(f"{side.master.address}: {reason_of(error)}") from error
        return _finish(handover, moved)
    if standing.role == "master":
        moved = _moved(handover)
        if moved is not None:
            return _finish(handover, moved)
        said = side.said_master()
        if said not in (None, side.master.address):
            raise Unsettled(f"{side.master.address}: the Sentinels say that {said} is the master")
        return _go_back(handover, promoted, watch)
    if promoted is not None and standing.master == promoted:
        if side.said_master() == promoted:
            return _finish(handover, promoted)
        _give_back(handover, promoted)
        return _go_back(handover, None, watch)
    raise Unsettled(f"{side.master.address} is a replica of {standing.master}")


def _give_back(handover: Handover, promoted: str) -> None:
    """The Sentinels missed the promotion: hand over again, the other way round, by ourselves."""
    master, now_master = handover.side.master, handover.side.replicas[promoted]

    def caught_up() -> bool | None:
        own, target = master.standing(), now_master.standing().offset
        return True if own.link == "connected" and own.offset >= target else None

    try:
        if wait_for(caught_up, AGREE, 0.1) is None:
            raise Unsettled(f"{master.address} has not yet all that {promoted} has")
        now_master.pause(round(PAUSE * 1000))
        if wait_for(caught_up, CATCH_UP, POLL) is None:
            now_master.unpause()
            raise Unsettled(f"{master.address} did not catch up with {promoted}")
        master.promote()
        now_master.replicate(master.address)
        now_master.unpause()
    except redis.RedisError as error:
        raise Unsettled(f"{master.address}, {promoted}: {reason_of(error)}") from error


def _finish(handover: Handover, promoted: str) -> Settled:
    side = handover.side
    try:
        standing = side.master.standing()
        if standing.role == "master" or standing.master != promoted:
            handover.demote(promoted)
        handover.resume()
    except (redis.RedisError, CacheMeshError) as error:
        if _says_master(handover):
            why = reason_of(error) if isinstance(error, redis.RedisError) else str(error)
            raise StillMaster(side.master.address, promoted, why) from error
        if side.said_master() != promoted:
            raise Unsettled(f"{side.master.address}: {error}") from error
        # It is gone, and the Sentinels will make it a replica when it is back.
        log.warning("failover of %s: %s: %s", side.shard, side.master.address, error)
    return conclude(handover, promoted)


def _go_back(handover: Handover, rogue: str | None, watch: str | None = None) -> Settled:
    """Nobody was promoted, but for a `rogue` whom the Sentinel does not stand by."""
    side = handover.side
    try:
        if rogue is not None:
            side.replicas[rogue].replicate(side.master.address)
        handover.resume()
    except redis.RedisError as error:
        raise Unsettled(f"{side.master.address}: {reason_of(error)}") from error
    if handover.told:
        # Until they see the master again, the Sentinels could begin one of their own; as long,
        # the fence makes sure that a promoted replica means no more writes here.
        wait_for(lambda: _calm(handover), _CALM, 0.05)
    left = put_back(side, handover.notes)
    return Settled(side.master.address, False, True, left, watch)


def _says_master(handover: Handover) -> bool:
    with suppress(redis.RedisError):
        return handover.side.master.standing().role == "master"
    return False


def _moved(handover: Handover) -> str | None:
    """The master that the Sentinels say, where it is another one and a master indeed."""
    side = handover.side
    said = side.said_master()
    if said is None or said == side.master.address or said not in side.replicas:
        return None
    with suppress(redis.RedisError):
        return said if side.replicas[said].standing().role == "master" else None
    return None


def _silent_for_long(handover: Handover, passed: float) -> bool:
    """Whether the leader has had the time to give up by itself."""
    return time.monotonic() - handover.timings.began >= SILENT or passed >= SILENT


def _stop_them(
    handover: Handover, busy: Mapping[str, bool | redis.RedisError], *, stuck: bool
) -> None:
    for at, answer in busy.items():
        if answer is not True:
            continue
        with suppress(redis.RedisError):
            watcher = handover.side.watchers[at]
            if at == handover.notes.leader and not stuck:
                watcher.set_timeout(1)
            else:
                watcher.reset()


def _calm(handover: Handover) -> bool | None:
    """True if no Sentinel that answers takes the master for down, or is at a failover."""
    for fields in handover.side.ask(Watcher.fields).values():
        if isinstance(fields, redis.RedisError):
            continue
        if set(fields.get("flags", "").split(",")) & {"s_down", "o_down", "failover_in_progress"}:
            return None
    return True
