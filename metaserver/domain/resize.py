"""A resize under way, as the pool document holds it, so that any leader can go on with it.

    stable(P) --begun--> clearing --prepared--> preparing --finished--> stable(Q)
    clearing    the shards that gain keys are swept of what is not theirs by P; where keys are to
                be moved, the others are looked at for keys that are too large
    preparing   the document's migration is `prepare`: clients hold commands on keys that move
    paused      clients act on P again, as some of them did not acknowledge in time
    given up    stable(P) again, because an operator said so

P is the placement of the document, Q that of the resize. Every step is a new version of the
document, stored by compare-and-set.

That is strategy `drop`: keys that change their shard go cold. With strategy `move` they are moved:

    preparing --moving--> moving --source_done--> ... --following--> preparing, the next stage
                             |                        --finished--> stable(Q)
                             +--turned_back--> preparing, back --> ... --> stable(P)
                             '--with_lost--> preparing, the same stage (`domain.lost_shard`)
    moving      the document's migration is `move`: clients and the leader pull keys
    source_done a shard has none left of the keys that move from it in this stage

A resize that *stays* ends in P (`metaserver.domain.resize_stay`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.migration.phase import Migration, PhaseName
from cachemesh.core.migration.stages import stages
from cachemesh.core.placement import Placement, moves
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.fence_record import FenceRecord, with_fence
from metaserver.domain.planning import ChangePlan, Strategy
from metaserver.domain.pool_state import NewSweep, PoolState

ResizeState: TypeAlias = Literal["clearing", "preparing", "paused", "moving"]

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
        began: when, RFC 3339 in UTC; "" for a resize of an earlier release.
        masters: shard -> its master, as known when the resize began.
        intents: ids of the intents that the resize completes.
        reason: what it waits for, or why the last attempt was stepped back; "" at first.
        stays: whether it ends in P; see above.
        strategy: what becomes of the keys that change their shard.
        stage, stages, back, done, replicas, lost: of a move, see `cachemesh.core.migration.phase`.
        moved: how many keys the leader has moved from shards that are done.
        paused: the leader moves no keys; clients still pull those that they ask for.
        keys_per_second: how many keys the leader moves at most; 0 for no bound.
        max_latency: milliseconds; the leader moves keys more slowly while a shard takes longer to
            answer. 0 for no bound.
        longest_hold: seconds for which an attempt had clients hold commands, the longest one.
        former: the document's migration from before this preparation.
        masterships: shard -> the replication id that its master had when keys began to move.
    """

    id: int
    state: ResizeState
    placement: Placement
    summary: str
    actor: str
    target: str | None = None
    began: str = ""
    attempt: int = 0
    masters: Mapping[str, str] = field(default_factory=dict)
    intents: tuple[int, ...] = ()
    reason: str = ""
    stays: bool = False
    strategy: Strategy = "drop"
    stage: int = 0
    stages: int = 1
    back: bool = False
    done: tuple[str, ...] = ()
    replicas: Mapping[str, int] = field(default_factory=dict)
    moved: int = 0
    paused: bool = False
    keys_per_second: int = 0
    max_latency: int = 0
    longest_hold: float = 0.0
    former: Mapping[str, Any] | None = None
    lost: tuple[str, ...] = ()
    masterships: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_moved(self) -> bool:
        """Whether some keys may be where Q has them."""
        return self.strategy == "move" and (
            self.state == "moving" or self.stage > 0 or self.back or self.former is not None
        )

    @property
    def last_stage(self) -> bool:
        """Whether this is the last stage of a move."""
        return self.stage == 0 if self.back else self.stage + 1 >= self.stages

    def migration(self, phase: PhaseName) -> Migration:
        """Return what clients are told of the resize in a phase."""
        return Migration(
            phase,
            self.placement,
            id=self.id,
            moves=self.strategy == "move",
            stage=self.stage,
            stages=self.stages,
            back=self.back,
            done=frozenset(self.done),
            replicas=self.replicas,
            lost=frozenset(self.lost),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the resize as JSON-ready values."""
        return {
            **vars(self),
            "placement": self.placement.to_dict(),
            "masters": dict(self.masters),
            "intents": list(self.intents),
            "done": list(self.done),
            "lost": list(self.lost),
            "replicas": dict(self.replicas),
            "masterships": dict(self.masterships),
            "former": None if self.former is None else dict(self.former),
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
            not isinstance(state, str)
            or state not in states
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
            began=str(kept.get("began", "")),
            attempt=kept["attempt"],
            masters={str(shard): str(address) for shard, address in masters.items()},
            intents=tuple(int(each) for each in intents),
            reason=str(kept.get("reason", "")),
            stays=kept.get("stays") is True,
            longest_hold=_seconds(kept, "longest_hold"),
            **_of_move(kept),
        )


def _seconds(kept: Mapping[str, Any], name: str) -> float:
    value = kept.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise InvalidDocumentError(f"resize: {name} is no number from 0 on")
    return float(value)


def _of_move(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a move; none of another strategy.

    Raises:
        InvalidDocumentError: they are not of their types.
    """
    if kept.get("strategy") != "move":
        return {}
    try:
        read = Migration.from_dict({**kept, "phase": "move"})
    except InvalidDocumentError as error:
        raise InvalidDocumentError(f"resize: {error}") from error
    former, masterships = kept.get("former"), kept.get("masterships")
    counts = {name: kept.get(name, 0) for name in ("moved", "keys_per_second", "max_latency")}
    for name, value in counts.items():
        if not isinstance(value, int):
            raise InvalidDocumentError(f"resize: {name} is no number")
    return {
        "strategy": "move",
        "stage": read.stage,
        "stages": read.stages,
        "back": read.back,
        "done": tuple(sorted(read.done)),
        "lost": tuple(sorted(read.lost)),
        "replicas": read.replicas,
        **counts,
        "paused": kept.get("paused") is True,
        "former": former if isinstance(former, Mapping) else None,
        "masterships": (
            {str(shard): str(each) for shard, each in masterships.items()}
            if isinstance(masterships, Mapping)
            else {}
        ),
    }


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
        resize.strategy,
    )


def begun(
    plan: ChangePlan,
    actor: str,
    target: str | None,
    masters: Mapping[str, str],
    intents: tuple[int, ...] = (),
    at: str = "",
) -> PoolDocument:
    """Return the document that begins the resize of a plan.

    Only shards that serve already may hold keys that are not theirs: those are cleared first. Where
    keys are to be moved, too large ones are looked for then.

    Args:
        masters, intents: as of `Resize`.
        at: when it begins.
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
        began=at,
        masters=dict(masters),
        intents=tuple(intents),
        strategy=plan.strategy,
        stages=_stages(plan),
        keys_per_second=plan.keys_per_second,
        max_latency=plan.max_latency,
    )
    begins = with_resize(before, resize)
    looked_at = plan.strategy == "move" or to_clear(plan)
    return begins if looked_at else prepared(begins, resize)


def _stages(plan: ChangePlan) -> int:
    if plan.strategy == "drop" or plan.before is None or plan.after is None:
        return 1
    return max(1, stages(plan.before.placement, plan.after.placement).count)


def to_clear(plan: ChangePlan) -> tuple[str, ...]:
    """Return the shards that gain keys and serve already: they may hold some that are not theirs.

    What a new shard holds was decided when it was admitted.
    """
    had = () if plan.before is None else plan.before.placement.names
    return tuple(shard for shard in plan.gainers if shard in had)


def prepared(document: PoolDocument, resize: Resize) -> PoolDocument:
    """Return the document of the next attempt, which has clients hold commands on moving keys."""
    attempt = resize.attempt + 1
    holds = replace(resize, state="preparing", attempt=attempt)
    migration = {**holds.migration("prepare").to_dict(), "attempt": attempt}
    return with_resize(document, holds).replace(migration=migration)


def concerned(document: PoolDocument, resize: Resize) -> tuple[str, ...]:
    """Return the shards that no client may use by a rule of before: those it is fenced off.

    One whose data is lost is not asked: it would be waited for.
    """
    plan = plan_of(document, resize)
    if resize.strategy == "drop":
        return plan.losers
    return tuple(sorted({*plan.losers, *plan.gainers} - {*resize.lost}))


def waiting(document: PoolDocument, resize: Resize, reason: str) -> PoolDocument:
    """Return the document that says what the resize waits for; clients act as before."""
    return with_resize(document, replace(resize, reason=reason))


def held(resize: Resize, seconds: float) -> Resize:
    """Return the resize after an attempt that had clients hold commands for so long."""
    return replace(resize, longest_hold=max(resize.longest_hold, round(seconds, 4)))


def stepped_back(document: PoolDocument, resize: Resize, reason: str) -> PoolDocument:
    """Return the document that has clients act on P again until the next attempt."""
    paused = with_resize(document, replace(resize, state="paused", reason=reason))
    return paused.replace(migration=resize.former)


def given_up(state: PoolState, resize: Resize) -> PoolDocument:
    """Return the document without the resize, with a fence where a marker may be on a shard."""
    document = state.document
    if not resize.attempt:
        return stable(document)
    known = masters_of(state, resize)
    masters = {shard: known[shard] for shard in concerned(document, resize) if shard in known}
    return with_fence(stable(document), FenceRecord(document.version, (), masters))


def finished(document: PoolDocument, resize: Resize, fence: FenceRecord | None) -> PoolDocument:
    """Return the document after the resize, with the fence that it needed, if any."""
    after = stable(document).replace(placement=ends_in(document, resize))
    return after if fence is None else with_fence(after, fence)


def ends_in(document: PoolDocument, resize: Resize) -> Placement:
    """Return the placement that the resize ends in."""
    return document.placement if resize.stays or resize.back else resize.placement


def sweeps_after(state: PoolState, resize: Resize) -> list[NewSweep]:
    """Return the sweeps that end the resize: of each shard that loses keys."""
    masters, kept = masters_of(state, resize), ends_in(state.document, resize).names
    plan = plan_of(state.document, resize)
    return [
        NewSweep(shard, masters.get(shard), drained=shard not in kept)
        for shard in (plan.gainers if resize.back else plan.losers)
    ]


def incoming(document: PoolDocument) -> tuple[str, ...]:
    """Return the shards that a resize adds, once keys may have moved there."""
    try:
        resize = resize_of(document)
    except InvalidDocumentError:
        return ()
    if resize is None or not resize.has_moved:
        return ()
    return tuple(each for each in resize.placement.names if each not in document.placement.names)


def masters_of(state: PoolState, resize: Resize) -> dict[str, str]:
    """Return each shard's last known master, also of shards that the resize adds."""
    return {**resize.masters, **state.masters}


def stable(document: PoolDocument) -> PoolDocument:
    """Return the document without its resize."""
    extra = {name: value for name, value in document.extra.items() if name != FIELD}
    return document.replace(migration=None, extra=extra)


def with_resize(document: PoolDocument, resize: Resize) -> PoolDocument:
    """Return the document with a resize in place of the one that it has, if any."""
    return document.replace(extra={**document.extra, FIELD: resize.to_dict()})
