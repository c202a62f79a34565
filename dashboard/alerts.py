"""What is wrong with a pool: for each fault what it costs, why it is so, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cachemesh.core.plurals import counted
from dashboard.events import EventLine
from dashboard.format import parse_time, percent
from dashboard.upstream import Json

SINGLY = 3
"""Up to so many shards in one state get an alert each; more of them share one."""

NAMED = 12  # shards that a shared alert names
LEVELS = ("down", "degraded", "info")  # the worst first
WORKING = frozenset(("failing over", "joining"))  # states of shards during known work
_OBSERVER = (
    "this metaserver shows what Sentinels monitor and keeps nothing: adding, removing, weights, "
    "failovers, settings and sweeps need one with --db or --zookeeper; versions and events began "
    "when it started"
)
_SERVED = "all their keys are served"


@dataclass(frozen=True)
class Alert:
    """A message on top of the page.

    Attributes:
        id: stays the same while the fault lasts.
        level: one of `LEVELS`.
        shards: the names of those that it is about, as many as it names.
        more: how many further ones it is about.
        what: is wrong, after the shards' names.
        impact: what that costs, or "".
        since: when it began, if that is known.
        why: it is so, or "".
        watched: what the Sentinels say, or what goes on, or "".
        next_step: what happens next, or what to do, or "".
        state: that of the shards, by which the list of shards can be filtered; "" for none.
    """

    id: str
    level: str
    what: str
    why: str = ""
    shards: tuple[str, ...] = ()
    more: int = 0
    impact: str = ""
    since: datetime | None = None
    watched: str = ""
    next_step: str = ""
    state: str = ""

    @property
    def headline(self) -> str:
        """The alert in a few words."""
        return f"{self.shards[0]} {self.what}" if len(self.shards) == 1 else self.what


def alerts_of(status: Json, events: Sequence[EventLine] = ()) -> tuple[Alert, ...]:
    """Return all alerts of a pool, the worst first.

    Args:
        status: of the pool.
        events: newest first; they tell since when a shard is down.
    """
    alerts = [_sentinel_alert(each, status) for each in _list(status, "sentinels") if _out(each)]
    # Sentinels first: one that is down degrades every shard.
    for state in ("down", "degraded", *sorted(WORKING)):
        shards = [shard for shard in _list(status, "shards") if shard.get("state") == state]
        if len(shards) <= SINGLY:
            alerts += [_shard_alert(shard, events) for shard in shards]
        else:
            alerts.append(_shared_alert(state, shards))
    for sweep in _list(status, "sweeps"):
        if sweep.get("state") == "failed":
            what = f"Sweep of {sweep.get('shard')} failed"
            why = str(sweep.get("detail") or "")
            alerts.append(Alert(f"sweep-{sweep.get('shard')}", "degraded", what, why))
    if status.get("pause"):
        alerts.append(_pause_alert(status["pause"]))
    if status.get("observer"):
        alerts.append(Alert("observer", "info", "Observed, read only", _OBSERVER))
    return tuple(sorted(alerts, key=lambda alert: LEVELS.index(alert.level)))


def all_well(status: Json) -> str:
    """Say in a few words what serves, for the line that stands where no alert does."""
    shards, sentinels = _list(status, "shards"), _list(status, "sentinels")
    if not shards:
        return "Nothing is known of the pool yet"
    up = sum(not _out(each) for each in sentinels)
    return f"No alerts: {counted(len(shards), 'shard')} up, {up} of {len(sentinels)} Sentinels up"


def _pause_alert(pause: Json) -> Alert:
    by = str(pause.get("by")).removeprefix("token:")
    ends_a_step = pause.get("state") == "pausing"
    return Alert(
        id="paused",
        level="info",
        what=f"{'Being paused' if ends_a_step else 'Paused'} by {by}",
        why=str(pause.get("reason") or ""),
        impact="its shards cannot be changed, and nothing is repaired, swept or moved, so far",
        since=parse_time(str(pause.get("since"))),
        watched="clients hold commands for a step of the resize, which is ended first"
        if ends_a_step
        else "",
        next_step="resume the pool when that is over",
    )


def _out(sentinel: Json) -> bool:
    return not sentinel.get("up")


def _sentinel_alert(sentinel: Json, status: Json) -> Alert:
    all_of_them = _list(status, "sentinels")
    up = sum(not _out(each) for each in all_of_them)
    enough = up * 2 > len(all_of_them)
    return Alert(
        id=f"sentinel-{sentinel.get('address')}",
        level="degraded",
        what=f"Sentinel {sentinel.get('address')} is down",
        why=str(sentinel.get("error") or "it does not answer"),
        impact="no key is affected; "
        + ("failovers still happen" if enough else "no failover can happen"),
        watched=f"{up} of {len(all_of_them)} Sentinels answer",
        next_step="start it again, or look at its machine",
    )


def _shard_alert(shard: Json, events: Sequence[EventLine]) -> Alert:
    name, state = str(shard["name"]), str(shard.get("state"))
    why, next_step = _reason(shard)
    if state in WORKING:
        return Alert(f"shard-{name}", "info", f"is {state}", why, shards=(name,), state=state)
    down = state == "down"
    return Alert(
        id=f"shard-{name}",
        level=state,
        what=f"is {state}",
        why=why,
        shards=(name,),
        impact=_lost_share([shard]) if down else _served(shard),
        since=down_since(name, events) if down else None,
        watched=_watched(shard) if down else "",
        next_step=next_step if down else _step_for(shard),
        state=state,
    )


def _shared_alert(state: str, shards: Sequence[Json]) -> Alert:
    """Return one alert for many shards, with the reason that most of them give."""
    reasons = Counter(_reason(shard) for shard in shards)
    (why, next_step), count = reasons.most_common(1)[0]
    if 1 < count < len(shards):
        why = f"{count} of them: {why}"
    elif count == 1:  # each for a reason of its own: that of the first stands for all
        why = f"{shards[0]['name']}: {why}"
    names = [str(shard["name"]) for shard in shards]
    impact = {"down": _lost_share(shards), "degraded": _SERVED}.get(state, "")
    return Alert(
        id=f"shards-{state.replace(' ', '-')}",
        level="info" if state in WORKING else state,
        what=f"{counted(len(shards), 'shard')} are {state}",
        why=why,
        shards=tuple(names[:NAMED]),
        more=max(0, len(names) - NAMED),
        impact=impact,
        next_step=next_step,
        state=state,
    )


def down_since(name: str, events: Sequence[EventLine]) -> datetime | None:
    """Return when a shard went down, unless it was up again later.

    Args:
        events: newest first.
    """
    for event in events:
        if event.target == name and event.action in ("shard.down", "shard.up"):
            return event.at if event.action == "shard.down" else None
    return None


def _reason(shard: Json) -> tuple[str, str]:
    """Return why a shard is so, and what happens next: the metaserver says that last."""
    reason = str(shard.get("reason") or "")
    if shard.get("state") != "down":
        return reason, ""
    why, separator, following = reason.rpartition("; ")
    return (why, following) if separator else (reason, "")


def _lost_share(shards: Sequence[Json]) -> str:
    share = sum(float(shard.get("share") or 0.0) for shard in shards)
    return f"{percent(share)} of the keys are not served"


def _served(shard: Json) -> str:
    replicas = _list(shard, "replicas")
    if any(replica.get("up") for replica in replicas):
        return "all its keys are served"
    return "all its keys are served, by its master alone"


def _watched(shard: Json) -> str:
    sentinel: Mapping[str, object] = shard.get("sentinel") or {}
    if not sentinel:
        return "no word from Sentinel"
    votes = sentinel.get("down_votes")
    if isinstance(votes, int):
        return (
            f"Sentinels that take it for down: {votes} of {sentinel.get('of')}, "
            f"quorum {sentinel.get('quorum')}"
        )
    return (
        f"{sentinel.get('seen_by')} of {sentinel.get('of')} Sentinels watch it, "
        f"quorum {sentinel.get('quorum')}"
    )


def _step_for(shard: Json) -> str:
    """Return what to do about a degraded shard; "" where its reason has to do."""
    gone = [str(each.get("address")) for each in _list(shard, "replicas") if not each.get("up")]
    if gone:
        return f"start {' and '.join(gone)} again, or look at the machine"
    if any(each.get("link") not in (None, "up") for each in _list(shard, "replicas")):
        return "look at the replica's log if it does not catch up"
    return ""


def _list(data: Json, name: str) -> list[Json]:
    return list(data.get(name) or ())
