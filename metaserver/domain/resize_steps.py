"""What the leader does next about a resize: one decision, from what it knows.

    clearing    clear the shards that gain keys, look for keys that are too large to be moved;
                then have clients hold
    paused      wait out a delay, then have clients hold once more
    preparing   wait for the clients within the hold; look who is connected to the shards that lose
                keys; fence who has not acknowledged; then finish, or have keys move
    moving      move keys until no shard has any left; then the next stage, or finish

Where the resize stays (`metaserver.domain.resize`), nobody steps back: who has not acknowledged is
fenced early, so that it asks, and waited for.

While the pool is paused, nothing of this goes on: where clients hold commands, the resize
steps back at once, and one that stays ends first.

A client that lags has the resize step back, which costs it nothing. It is fenced when its lease is
over, at the last attempt, or where it has no connection that fencing it would end, as after its
process was killed. Nothing here waits, asks or stores: `metaserver.loops.resize` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from cachemesh.core.plurals import counted
from metaserver.domain.pool_pause import IS_PAUSED
from metaserver.domain.resize import Resize

ATTEMPTS = 10  # after which a client that lags is fenced
HOLD = 0.1  # seconds for which clients hold commands in the first attempt
NEXT_HOLDS = 0.15  # in the attempts after it: apps feel many short ones less than a long one
LONGER_FROM = 8  # the attempt from which on it doubles: some client is slower than that
LONGEST_HOLD = 1.0
STAY_HOLD = 2.0  # seconds for which all commands are held at most where a resize stays
_DELAY = 0.05  # seconds before the second attempt, without jitter
_LONGEST_DELAY = 2.0
_PAUSED = 0.5  # seconds between two looks at a move or a pool that is paused
_NAMED = 3  # clients that a reason names


@dataclass(frozen=True)
class Laggards:
    """The clients that have not acknowledged a version.

    Attributes:
        live: ids of those whose lease runs.
        expired: ids of those whose lease is over, and that have not left.
        unnamed: whether nobody knows the ids of some that are live.
    """

    live: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    unnamed: bool = False


@dataclass(frozen=True)
class FenceOutcome:
    """What became of the attempt to fence.

    Attributes:
        failed: shard -> why nothing could be fenced there.
    """

    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Knowledge:
    """What the leader knows of a resize at this version of the document.

    Attributes:
        elapsed: seconds since this leader first saw the version.
        laggards: of this version.
        cleared: whether the shards that gain keys hold none that are not theirs, and none is too
            large to be moved.
        strangers: ids of the clients with a connection to a shard that loses keys which have not
            acknowledged; None as long as nobody has looked.
        marked: whether a marker is on one of these shards: a leader that died was about to fence,
            or clients of an earlier resize are still fenced.
        unseen: of a move: shard that did not answer the look -> why.
        fence: None as long as nobody has fenced.
        all_moved: whether no shard has any key left that moves from it in this stage.
        jitter: drawn from 0 to 1, once for each version.
        without_stale: turned back: whether no shard has older copies of keys that move back to it.
        restarted: turned back: shards that may have some again since.
        pool_paused: whether an operator has paused the pool.
    """

    elapsed: float
    laggards: Laggards = Laggards()
    cleared: bool = False
    strangers: tuple[str, ...] | None = None
    marked: bool = False
    unseen: tuple[tuple[str, str], ...] = ()
    fence: FenceOutcome | None = None
    all_moved: bool = False
    jitter: float = 0.5
    without_stale: bool = False
    restarted: tuple[str, ...] = ()
    pool_paused: bool = False


@dataclass(frozen=True)
class Clear:
    """Sweep the shards that gain keys; look for keys that are too large to be moved."""


@dataclass(frozen=True)
class RemoveStale:
    """Remove older copies of keys from the shards that they are about to move back to."""


@dataclass(frozen=True)
class Prepare:
    """Store the next attempt."""


@dataclass(frozen=True)
class Wait:
    """Look again after so many seconds, or once a client has acknowledged."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class Look:
    """List the connections to the shards that lose keys."""


@dataclass(frozen=True)
class FenceOff:
    """Fence these clients, and whoever else has not acknowledged."""

    clients: tuple[str, ...]


@dataclass(frozen=True)
class StepBack:
    """Have clients act on the old placement again."""

    reason: str


@dataclass(frozen=True)
class Begin:
    """Store that keys move."""


@dataclass(frozen=True)
class MoveKeys:
    """Move keys from the shards that have some left."""


@dataclass(frozen=True)
class PrepareNext:
    """Store the preparation of the next stage."""


@dataclass(frozen=True)
class Finish:
    """Store the new placement."""


Step: TypeAlias = (
    "Clear | RemoveStale | Prepare | Wait | Look | FenceOff | StepBack | Begin | MoveKeys "
    "| PrepareNext | Finish"
)


def next_step(resize: Resize, known: Knowledge) -> Step:
    """Return what to do next."""
    if known.pool_paused and not resize.stays:
        return StepBack(IS_PAUSED) if resize.state == "preparing" else Wait(_PAUSED, IS_PAUSED)
    if resize.state == "clearing":
        return Prepare() if known.cleared else Clear()
    if resize.stays:
        return _of_stay(known)
    if resize.state == "paused":
        if resize.back and not known.without_stale:
            return RemoveStale()
        left = delay(resize.attempt, known.jitter) - known.elapsed if resize.attempt else 0.0
        return Wait(left, resize.reason) if left > 0 else Prepare()
    if resize.state == "moving":
        if not known.all_moved:
            return Wait(_PAUSED, "an operator has paused it") if resize.paused else MoveKeys()
        return Finish() if resize.last_stage else PrepareNext()
    return _of_prepare(resize, known)


def hold(attempt: int) -> float:
    """Return the seconds for which an attempt waits for clients that lag."""
    if attempt == 1:
        return HOLD
    return float(min(LONGEST_HOLD, NEXT_HOLDS * 2.0 ** max(0, attempt - LONGER_FROM + 1)))


def delay(attempt: int, jitter: float) -> float:
    """Return the seconds from an attempt that was stepped back to the next; jitter from 0 to 1."""
    return float(min(_LONGEST_DELAY, _DELAY * 2.0 ** min(attempt, 10)) * (0.5 + jitter))


def _of_prepare(resize: Resize, known: Knowledge) -> Step:
    lag = known.laggards
    last = resize.attempt >= ATTEMPTS
    if lag.live and (left := hold(resize.attempt) - known.elapsed) > 0:
        return Wait(left, f"waits for {named(lag.live)}")
    if known.strangers is None:
        return Look()
    if not last and (lag.unnamed or set(lag.live) & set(known.strangers)):
        return StepBack(f"waits for {named(lag.live)}")
    if known.unseen:
        shard, why = known.unseen[0]
        return StepBack(f"shard {shard} does not answer: {why}")
    if resize.back and known.restarted:
        return StepBack(
            f"shard {known.restarted[0]} was started again, or has failed over: it may have older "
            "copies of keys that move back"
        )
    fenced = tuple(dict.fromkeys([*lag.live, *lag.expired, *known.strangers]))
    if (fenced or known.marked) and known.fence is None:
        return FenceOff(fenced)
    can_begin = last and resize.strategy == "drop"  # who is connected loses nothing by that
    if known.fence is not None and known.fence.failed and fenced and not can_begin:
        shard, why = known.fence.failed[0]
        return StepBack(f"{named(fenced)} cannot be fenced off shard {shard}: {why}")
    return Begin() if resize.strategy == "move" else Finish()


def _of_stay(known: Knowledge) -> Step:
    """Return the next step where clients act on placements that the store does not know.

    There is no step back: what it would have them act on is new to those that lag.
    """
    lag = known.laggards
    if lag.live and known.elapsed < HOLD:
        return Wait(HOLD - known.elapsed, f"waits for {named(lag.live)}")
    if known.strangers is None:
        return Look()
    late = tuple(dict.fromkeys([*lag.live, *known.strangers]))
    fenced = tuple(dict.fromkeys([*late, *lag.expired]))
    if (fenced or known.marked) and known.fence is None:
        return FenceOff(fenced)
    if late and known.elapsed < STAY_HOLD:
        return Wait(STAY_HOLD - known.elapsed, f"waits for {named(late)}")
    return Finish()


def named(clients: tuple[str, ...]) -> str:
    """Return clients in words, the first few by their ids."""
    some = ", ".join(clients[:_NAMED])
    if len(clients) == 1:
        return f"client {some}"
    more = f" and {len(clients) - _NAMED} more" if len(clients) > _NAMED else ""
    return f"{counted(len(clients), 'client')}: {some}{more}"
