"""A resize under way, as the pool document holds it, so that any leader can go on with it.

    stable(P) --begun--> clearing --prepared--> preparing --finished--> stable(Q)
    clearing    the shards that gain keys are swept of what is not theirs by P
    preparing   the document's migration is `prepare`: clients hold commands on keys that move
    paused      clients act on P again, as some of them did not acknowledge in time
    given up    stable(P) again, because an operator said so

P is the placement of the document, Q that of the resize. Every step is a new version of the
document, stored by compare-and-set.

A resize that *stays* ends in P: the store was replaced by an older copy of itself, and some clients
act on a placement that it does not know. So all hold every command, and go on once all act on P.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, TypeAlias, get_args

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import Placement, Shard, SlotsPlacement, moves
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.fence_record import FenceRecord, with_fence
from metaserver.domain.planning import ChangePlan
from metaserver.domain.pool_state import NewSweep, PoolState

ResizeState: TypeAlias = Literal["clearing", "preparing", "paused"]

FIELD = "resize"
"""The field of the pool document. Clients do not know it, and pass it on."""


@dataclass(frozen=True)
class Resize:
    """A resize under way.

    Attributes:
        id: the version of the document that began it.
        state: as drawn above.
        attempt: how often clients were asked to hold so far.
        placement: Q.
        summary, actor, target: of the change that an operator asked for.
        masters: shard -> its master, as known when the resize began.
        intents: ids of the intents that the resize completes.
        reason: what it waits for, or why the last attempt was stepped back; "" at first.
        stays: whether it ends in P; see above.
    """

    id: int
    state: ResizeState
    placement: Placement
    summary: str
    actor: str
    target: str | None = None
    attempt: int = 0
    masters: Mapping[str, str] = field(default_factory=dict)
    intents: tuple[int, ...] = ()
    reason: str = ""
    stays: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the resize as JSON-ready values."""
        return {
            **vars(self),
            "placement": self.placement.to_dict(),
            "masters": dict(self.masters),
            "intents": list(self.intents),
        }

    @classmethod
    def from_dict(cls, kept: object) -> Resize:
        """Return the reverse of `to_dict`; fields of later releases are left out.

        Raises:
            InvalidDocumentError: it is no resize.
        """
        if not isinstance(kept, Mapping):
            raise InvalidDocumentError("resize is not an object")
        state, masters, intents = kept.get("state"), kept.get("masters"), kept.get("intents")
        numbers = (kept.get("id"), kept.get("attempt"))
        states: dict[object, ResizeState] = {each: each for each in get_args(ResizeState)}
        if (
            state not in states
            or not all(isinstance(number, int) for number in numbers)
            or not isinstance(masters, Mapping)
            or not isinstance(intents, (list, tuple))
        ):
            raise InvalidDocumentError("resize: its state, id, attempt, masters or intents is none")
        target = kept.get("target")
        return cls(
            id=kept["id"],
            state=states[state],
            placement=Placement.from_dict(kept.get("placement")),
            summary=str(kept.get("summary", "")),
            actor=str(kept.get("actor", "system")),
            target=None if target is None else str(target),
            attempt=kept["attempt"],
            masters={str(shard): str(address) for shard, address in masters.items()},
            intents=tuple(int(each) for each in intents),
            reason=str(kept.get("reason", "")),
            stays=kept.get("stays") is True,
        )


def resize_of(document: PoolDocument) -> Resize | None:
    """Return the resize under way, or None.

    Raises:
        InvalidDocumentError: the field holds no resize.
    """
    kept = document.extra.get(FIELD)
    return None if kept is None else Resize.from_dict(kept)


def intents_of(document: PoolDocument) -> tuple[int, ...]:
    """Return the ids of the intents that a resize under way completes."""
    try:
        resize = resize_of(document)
    except InvalidDocumentError:
        return ()
    return () if resize is None else resize.intents


def plan_of(document: PoolDocument, resize: Resize) -> ChangePlan:
    """Return what the resize changes: the document before and after, and the keys that move."""
    return ChangePlan(
        resize.summary,
        document,
        stable(document).replace(placement=resize.placement),
        moves(document.placement, resize.placement),
    )


def shown(resize: Resize) -> str:
    """Return in words how far the resize is, and what it waits for."""
    attempt = f", attempt {resize.attempt}" if resize.attempt > 1 else ""
    return f"{resize.state}{attempt}{f', {resize.reason}' if resize.reason else ''}"


def status_of(document: PoolDocument) -> dict[str, Any] | None:
    """Return the resize under way as docs/api.md shows it, or None."""
    try:
        resize = resize_of(document)
    except InvalidDocumentError as error:
        return {"state": "invalid", "attempt": 0, "summary": "", "detail": str(error)}
    if resize is None:
        return None
    return {
        "state": resize.state,
        "attempt": resize.attempt,
        "summary": resize.summary,
        "detail": resize.reason,
    }


def begun(
    plan: ChangePlan,
    actor: str,
    target: str | None,
    masters: Mapping[str, str],
    intents: tuple[int, ...] = (),
) -> PoolDocument:
    """Return the document that begins the resize of a plan.

    Only shards that serve already may hold keys that are not theirs: those are cleared first.
    """
    before, after = plan.before, plan.after
    if before is None or after is None:
        raise ValueError(f"{plan.summary}: not a change of an existing pool")
    resize = Resize(
        id=before.version + 1,
        state="clearing",
        placement=after.placement,
        summary=plan.summary,
        actor=actor,
        target=target,
        masters=dict(masters),
        intents=tuple(intents),
    )
    begins = _with(before, resize)
    return begins if to_clear(plan) else prepared(begins, resize)


def to_clear(plan: ChangePlan) -> tuple[str, ...]:
    """Return the shards that gain keys and serve already: they may hold some that are not theirs.

    What a new shard holds was decided when it was admitted.
    """
    had = () if plan.before is None else plan.before.placement.names
    return tuple(shard for shard in plan.gainers if shard in had)


def prepared(document: PoolDocument, resize: Resize) -> PoolDocument:
    """Return the document of the next attempt, which has clients hold commands on moving keys."""
    attempt = resize.attempt + 1
    ready = _with(document, replace(resize, state="preparing", attempt=attempt))
    return ready.replace(
        migration={
            "phase": "prepare",
            "strategy": "drop",
            "placement": resize.placement.to_dict(),
            "attempt": attempt,
        }
    )


def waiting(document: PoolDocument, resize: Resize, reason: str) -> PoolDocument:
    """Return the document that says what the resize waits for; clients act as before."""
    return _with(document, replace(resize, reason=reason))


def stepped_back(document: PoolDocument, resize: Resize, reason: str) -> PoolDocument:
    """Return the document that has clients act on P again until the next attempt."""
    paused = _with(document, replace(resize, state="paused", reason=reason))
    return paused.replace(migration=None)


def given_up(state: PoolState, resize: Resize) -> PoolDocument:
    """Return the document without the resize, with a fence where a marker may be on a shard."""
    document = state.document
    if not resize.attempt:
        return stable(document)
    losers, known = plan_of(document, resize).losers, masters_of(state, resize)
    masters = {shard: known[shard] for shard in losers if shard in known}
    return with_fence(stable(document), FenceRecord(document.version, (), masters))


def finished(document: PoolDocument, resize: Resize, fence: FenceRecord | None) -> PoolDocument:
    """Return the document after the resize, with the fence that it needed, if any."""
    after = stable(document).replace(placement=ends_in(document, resize))
    return after if fence is None else with_fence(after, fence)


def ends_in(document: PoolDocument, resize: Resize) -> Placement:
    """Return the placement that the resize ends in."""
    return document.placement if resize.stays else resize.placement


def sweeps_after(state: PoolState, resize: Resize) -> list[NewSweep]:
    """Return the sweeps that end the resize: of each shard that loses keys."""
    masters, kept = masters_of(state, resize), ends_in(state.document, resize).names
    return [
        NewSweep(shard, masters.get(shard), drained=shard not in kept)
        for shard in plan_of(state.document, resize).losers
    ]


def masters_of(state: PoolState, resize: Resize) -> dict[str, str]:
    """Return each shard's last known master, also of shards that the resize adds."""
    return {**resize.masters, **state.masters}


def taken_back(document: PoolDocument, version: int, masters: Mapping[str, str]) -> PoolDocument:
    """Return the document that has all clients hold every command until all act on it.

    Args:
        document: of a store that was replaced by an older copy of itself.
        version: the highest one that a client acts on.
        masters: shard -> its last known master.
    """
    names = document.placement.names
    nobody = next(name for n in count() if (name := f"nobody-{n}") not in names)
    resize = Resize(
        id=version + 1,
        state="preparing",
        placement=SlotsPlacement.even([Shard(nobody)]),  # so every key counts as one that moves
        summary=f"have every client act on the placement of an older copy, version {version + 1}",
        actor="system",
        target=None,
        masters=dict(masters),
        stays=True,
    )
    return prepared(document.replace(version=version + 1), resize)


def stable(document: PoolDocument) -> PoolDocument:
    """Return the document without its resize."""
    extra = {name: value for name, value in document.extra.items() if name != FIELD}
    return document.replace(migration=None, extra=extra)


def _with(document: PoolDocument, resize: Resize) -> PoolDocument:
    return document.replace(extra={**document.extra, FIELD: resize.to_dict()})
