"""Resolution: after a failure, the shard gets one master, and its writes go on.

a replica was promoted, and a Sentinel announces it or is about to  --> finish
a Sentinel still waits for the promotion                            --> make it give up
no Sentinel is at the failover, and they name the old master        --> go back
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
from metaserver.failover.participant_sentinel import ParticipantSentinel
from metaserver.failover.participants import wait_for
from metaserver.failover.saved_settings import restore
from metaserver.failover.unresolved import StillMaster, Unresolved
from metaserver.redis_io.bounded_connection import reason_of
from metaserver.redis_io.reply_parsers import row_flags

log = logging.getLogger("metaserver")

RESOLVE_WITHIN = 8.0  # seconds; after them repair goes on with the resolution
SILENT_AFTER = 3.5
"""Seconds after which a Sentinel that does not answer is no longer waited for.

By then the Sentinel has given up the promotion (`sentinel_choice.GIVES_UP`), or was stopped: after
a stop of over 2 s a Sentinel only answers for 30 s (TILT), time enough for repair to reset it.
"""
_RESET_AFTER = 1.0  # seconds after which a Sentinel that does not give up is reset
_CALM_WITHIN = 1.0  # seconds for the Sentinels to see the master again after a long pause


@dataclass(frozen=True)
class Resolution:
    """The outcome of a failover.

    Attributes:
        master: the shard's master now.
        promoted: whether that is another one than before.
        agreed: whether the Sentinels name this master too.
        unrestored: the settings that could not be restored, in words.
        silent_sentinel: a Sentinel that may still be at the failover, as it does not answer.
    """

    master: str
    promoted: bool
    agreed: bool
    unrestored: list[str] = field(default_factory=list)
    silent_sentinel: str | None = None


def resolve(handover: Handover) -> Resolution:
    """Find out how far the failover got, and finish or go back.

    Raises:
        StillMaster: a replica was promoted, and the old master does not become a replica. The old
            master keeps its fence.
        Unresolved: the master or the Sentinels do not allow either now.
    """
    participants, began, stopped = handover.participants, time.monotonic(), False
    if not handover.started:
        return _go_back(handover, None)
    while time.monotonic() - began < RESOLVE_WITHIN:
        passed = time.monotonic() - began
        promoted = participants.promoted()
        busy = participants.ask(ParticipantSentinel.in_progress)
        failing_over = any(answer is True for answer in busy.values())
        silent = isinstance(busy.get(handover.saved.leader), redis.RedisError)
        if (
            promoted is not None
            and promoted in participants.ask(ParticipantSentinel.master).values()
        ):
            return _finish(handover, promoted)
        # A Sentinel that was told to stop may have missed a promotion of this very moment.
        if promoted is not None and not stopped and (failing_over or silent):
            return _finish(handover, promoted)
        if not failing_over and (not silent or _silent_for_long(handover, passed)):
            return _by_sentinels(handover, promoted, handover.saved.leader if silent else None)
        if failing_over and passed >= handover.promotion_wait:
            _make_sentinels_give_up(
                handover, busy, stuck=passed > handover.promotion_wait + _RESET_AFTER
            )
            stopped = True
        time.sleep(0.02)
    raise Unresolved(f"shard {participants.shard}: a Sentinel is still at its failover")


def conclude(handover: Handover, promoted: str) -> Resolution:
    """Once the old master is a replica: wait for the Sentinels to agree, restore the settings.

    Raises:
        StillMaster, Unresolved: as `resolve`.
    """
    participants = handover.participants
    agreed = agree(
        participants, handover.saved, promoted, lambda: handover.timings.mark("announced")
    )
    if not agreed and participants.majority_master() == participants.master.address:
        return _by_sentinels(handover, promoted)
    return Resolution(promoted, True, agreed, restore(participants, handover.saved, promoted))


def _by_sentinels(
    handover: Handover, promoted: str | None, silent_sentinel: str | None = None
) -> Resolution:
    """Resolve by the word of the Sentinels, none of which is at the failover any more."""
    participants = handover.participants
    try:
        reply = participants.master.ask_role()
    except redis.RedisError as error:
        other = _other_master(handover)
        if other is None:
            raise Unresolved(f"{participants.master.address}: {reason_of(error)}") from error
        return _finish(handover, other)
    if reply.role == "master":
        other = _other_master(handover)
        if other is not None:
            return _finish(handover, other)
        named = participants.majority_master()
        if named not in (None, participants.master.address):
            raise Unresolved(
                f"{participants.master.address}: the Sentinels say that {named} is the master"
            )
        return _go_back(handover, promoted, silent_sentinel)
    if promoted is not None and str(reply.master) == promoted:
        if participants.majority_master() == promoted:
            return _finish(handover, promoted)
        _hand_back(handover, promoted)
        return _go_back(handover, None, silent_sentinel)
    raise Unresolved(f"{participants.master.address} is a replica of {reply.master}")


def _hand_back(handover: Handover, promoted: str) -> None:
    """Hand over back to the old master without Sentinel, as the Sentinels missed the promotion."""
    master, now_master = handover.participants.master, handover.participants.replicas[promoted]

    def caught_up() -> bool | None:
        own, target = master.ask_role(), now_master.ask_role().offset
        return True if own.link_state == "connected" and own.offset >= target else None

    try:
        if wait_for(caught_up, AGREE, 0.1) is None:
            raise Unresolved(f"{master.address} has not yet all that {promoted} has")
        now_master.pause(round(PAUSE * 1000))
        if wait_for(caught_up, CATCH_UP, POLL) is None:
            now_master.unpause()
            raise Unresolved(f"{master.address} did not catch up with {promoted}")
        master.promote()
        now_master.replicate(master.address)
        now_master.unpause()
    except redis.RedisError as error:
        raise Unresolved(f"{master.address}, {promoted}: {reason_of(error)}") from error


def _finish(handover: Handover, promoted: str) -> Resolution:
    participants = handover.participants
    try:
        reply = participants.master.ask_role()
        if reply.role == "master" or str(reply.master) != promoted:
            handover.demote(promoted)
        handover.resume()
    except (redis.RedisError, CacheMeshError) as error:
        if _old_master_says_master(handover):
            why = reason_of(error) if isinstance(error, redis.RedisError) else str(error)
            raise StillMaster(participants.master.address, promoted, why) from error
        if participants.majority_master() != promoted:
            raise Unresolved(f"{participants.master.address}: {error}") from error
        # The old master is gone; the Sentinels will make it a replica when it is back.
        log.warning(
            "failover of %s: %s: %s", participants.shard, participants.master.address, error
        )
    return conclude(handover, promoted)


def _go_back(
    handover: Handover, stray: str | None, silent_sentinel: str | None = None
) -> Resolution:
    """Keep the old master.

    Args:
        stray: a replica that was promoted, and that no Sentinel names as master.
    """
    participants = handover.participants
    try:
        if stray is not None:
            participants.replicas[stray].replicate(participants.master.address)
        handover.resume()
    except redis.RedisError as error:
        raise Unresolved(f"{participants.master.address}: {reason_of(error)}") from error
    if handover.started:
        # Until the Sentinels see the master again, they could begin a failover of their own. So
        # long the fence has to stay: after a promotion it refuses writes here.
        wait_for(lambda: _sentinels_are_calm(handover), _CALM_WITHIN, 0.05)
    unrestored = restore(participants, handover.saved)
    return Resolution(participants.master.address, False, True, unrestored, silent_sentinel)


def _old_master_says_master(handover: Handover) -> bool:
    with suppress(redis.RedisError):
        return handover.participants.master.ask_role().role == "master"
    return False


def _other_master(handover: Handover) -> str | None:
    """Return the master that most Sentinels name, if that is a replica that has become master."""
    participants = handover.participants
    named = participants.majority_master()
    if named is None or named == participants.master.address or named not in participants.replicas:
        return None
    with suppress(redis.RedisError):
        return named if participants.replicas[named].ask_role().role == "master" else None
    return None


def _silent_for_long(handover: Handover, passed: float) -> bool:
    """Return whether the leader has had the time to give up by itself."""
    return time.monotonic() - handover.timings.began >= SILENT_AFTER or passed >= SILENT_AFTER


def _make_sentinels_give_up(
    handover: Handover, busy: Mapping[str, bool | redis.RedisError], *, stuck: bool
) -> None:
    for at, answer in busy.items():
        if answer is not True:
            continue
        with suppress(redis.RedisError):
            sentinel = handover.participants.sentinels[at]
            if at == handover.saved.leader and not stuck:
                sentinel.set_timeout(1)
            else:
                sentinel.reset()


def _sentinels_are_calm(handover: Handover) -> bool | None:
    """Return True if no answering Sentinel takes the master for down, or is at a failover."""
    for fields in handover.participants.ask(ParticipantSentinel.fields).values():
        if isinstance(fields, redis.RedisError):
            continue
        if row_flags(fields) & {"s_down", "o_down", "failover_in_progress"}:
            return None
    return True
