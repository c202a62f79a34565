"""The entries of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class NewEvent:
    """An entry of the audit log before the store has numbered it. Never carries a secret.

    Attributes:
        action: what happened, such as "shard.add".
        actor: the cause: "token:NAME" or "system".
        pool, target: the pool, and the shard, instance, Sentinel or token in question.
        detail: the same in words.
        before, after: the changed part before and after, as JSON values.
    """

    action: str
    actor: str = "system"
    pool: str | None = None
    target: str | None = None
    detail: str = ""
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Event:
    """An entry of the audit log, its fields as in `NewEvent`.

    Attributes:
        id: the number of the entry; later entries have higher ones.
        at: when it was logged, RFC 3339 in UTC.
    """

    id: int
    at: str
    actor: str
    action: str
    pool: str | None
    target: str | None
    detail: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None

    def to_dict(self) -> dict[str, object]:
        """Return the event as docs/api.md shows it."""
        return asdict(self)


@dataclass(frozen=True)
class EventFilter:
    """Which entries are asked for; None asks for all.

    Attributes:
        shard: about this shard, or about a replica of it.
        action: this action, or with what comes before its dot ("shard") all that begin so.
        since: logged at this time or later, RFC 3339 in UTC; its end may be left out.
        text: with this text in actor, action, target or detail, upper and lower case alike.
    """

    shard: str | None = None
    action: str | None = None
    since: str | None = None
    text: str | None = None
