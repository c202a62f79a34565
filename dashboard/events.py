"""Turns the metaserver's events into lines for people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboard.format import parse_time
from dashboard.upstream import Json

# action -> (kind, words); `kind` picks icon and colour: change, good, warn, bad, info
_ACTIONS = {
    "pool.create": ("change", "created pool {target}"),
    "pool.delete": ("change", "deleted pool {target}"),
    "pool.settings": ("change", "changed settings of {target}"),
    "pool.placement": ("change", "changed the placement of {target}"),
    "pool.observe": ("info", "{target} as Sentinels have it"),
    "pool.restore": ("change", "restored {target}"),
    "pool.sweep": ("change", "swept {target} after a restore"),
    "pool.version-raised": ("warn", "Version of {target} raised: its clients were ahead"),
    "pool.paused": ("warn", "paused {target}"),
    "pool.resumed": ("good", "resumed {target}"),
    "resize.prepare": ("info", "Resize of {target} is prepared"),
    "resize.move": ("info", "Keys of {target} move"),
    "resize.source-done": ("info", "A shard of {target} has no key left to move"),
    "resize.replicas": ("warn", "Replicas of a shard of {target} are gone, or are back"),
    "resize.shard-lost": ("warn", "goes on with the resize of {target} without a lost shard"),
    "resize.paced": ("change", "changed the pace of the resize of {target}"),
    "resize.turned-back": ("warn", "gave up the resize of {target}: keys move back"),
    "resize.step-back": ("warn", "Resize of {target} waits for its clients"),
    "resize.waits": ("warn", "Resize of {target} waits"),
    "resize.done": ("good", "Resize of {target} done"),
    "resize.given-up": ("warn", "gave up the resize of {target}"),
    "resize.fenced": ("warn", "Clients of {target} are fenced"),
    "resize.fence-lifted": ("good", "Fence of {target} lifted"),
    "shard.add": ("change", "added shard {target}"),
    "shard.remove": ("change", "removed shard {target}"),
    "shard.set-weight": ("change", "set the weight of {target}"),
    "shard.failover": ("change", "failed over {target}"),
    "shard.failover-undone": ("warn", "Failover of {target} was undone"),
    "token.create": ("change", "created token {target}"),
    "token.revoke": ("change", "revoked token {target}"),
    "token.rotate": ("change", "rotated token {target}"),
    "token.restore": ("change", "restored tokens"),
    "failover": ("warn", "Failover of {target}"),
    "shard.down": ("bad", "{target} went down"),
    "shard.up": ("good", "{target} is up again"),
    "replica.down": ("warn", "Replica {target} went down"),
    "replica.up": ("good", "Replica {target} is up again"),
    "replica.added": ("good", "Replica {target} is new"),
    "replica.gone": ("warn", "Replica {target} is gone"),
    "sentinel.down": ("warn", "Sentinel {target} went down"),
    "sentinel.up": ("good", "Sentinel {target} is up again"),
    "sentinel.add": ("change", "added Sentinel {target}"),
    "sentinel.remove": ("change", "removed Sentinel {target}"),
    "sentinel.settled": ("good", "Sentinels of {target} took their change"),
    "sentinel.repaired": ("good", "Sentinels repaired for {target}"),
    "shard.undone": ("warn", "Half-done change of {target} was undone"),
    "sweep.done": ("good", "Sweep of {target} done"),
    "sweep.failed": ("bad", "Sweep of {target} failed"),
    "sweep.forgotten": ("change", "gave up the sweep of {target}"),
    "sweep.given-up": ("warn", "Sweep of {target} was given up"),
}

ACTIONS = (*dict.fromkeys(name.partition(".")[0] for name in _ACTIONS if "." in name), *_ACTIONS)
"""What may be asked for of actions: the first words of several, and each that is known."""


@dataclass(frozen=True)
class EventLine:
    """One event in words.

    Attributes:
        id: of the event.
        at: when it happened; None if the metaserver's time cannot be parsed.
        actor: the name of the token; None for an act of the system.
        kind: picks icon and colour: "change", "good", "warn", "bad" or "info".
        text: what happened.
        action, target: as the metaserver has them; the target may be a shard's name.
        detail: the metaserver's further words, or "".
    """

    id: str
    at: datetime | None
    actor: str | None
    kind: str
    text: str
    detail: str
    action: str
    target: str

    @property
    def told(self) -> str:
        """Who did what, in one line."""
        return f"{self.actor} {self.text}" if self.actor else self.text


def event_line(event: Json) -> EventLine:
    """Turn an event of the metaserver into words; an unknown action is shown by its name."""
    action, target = (
        str(event.get("action", "")),
        str(event.get("target") or event.get("pool") or ""),
    )
    kind, words = _ACTIONS.get(action, ("info", "{action} {target}"))
    if action == "resize.done" and (event.get("after") or {}).get("back"):
        kind, words = "warn", "Resize of {target} is turned back"
    actor = str(event.get("actor") or "system")
    return EventLine(
        id=str(event.get("id", "")),
        at=parse_time(str(event.get("at", ""))),
        actor=None if actor == "system" else actor.removeprefix("token:"),
        kind=kind,
        text=words.format(action=action, target=target),
        detail=str(event.get("detail") or ""),
        action=action,
        target=target,
    )
