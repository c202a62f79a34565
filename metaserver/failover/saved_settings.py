"""The settings that a planned failover changes for its time, stored until they are restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import redis

from metaserver.failover.participant_instance import FENCE, PRIORITY, ParticipantInstance
from metaserver.failover.participants import Participants
from metaserver.failover.unresolved import StillMaster
from metaserver.redis_io.bounded_connection import reason_of


@dataclass(frozen=True)
class SavedSettings:
    """The participants of a failover, and the values of their settings from before.

    Attributes:
        replicas: the replicas that Sentinel can choose from.
        leader: the Sentinel that begins the failover; "" before one is found.
        timeout: the leader's failover-timeout, in ms.
        fence: the master's min-replicas-to-write; None if unchanged.
        priorities: replica -> its replica-priority, where that is changed.
    """

    replicas: tuple[str, ...] = ()
    leader: str = ""
    timeout: int = 0
    fence: str | None = None
    priorities: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> SavedSettings:
        """Return the reverse of `to_dict`; of {}, the defaults."""
        return cls(**{**kept, "replicas": tuple(kept.get("replicas", ()))})

    def replace(self, **changes: Any) -> SavedSettings:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


def restore(
    participants: Participants, saved: SavedSettings, promoted: str | None = None
) -> list[str]:
    """Restore every setting, and return those that could not be restored, in words.

    Args:
        promoted: the new master, if a replica took over.

    Raises:
        StillMaster: `promoted` took over, and the old master says that it is a master. Its fence
            stays, as nothing else keeps its clients from writes that would be lost.
    """
    unrestored = []
    if saved.leader:
        try:
            participants.sentinels[saved.leader].set_timeout(saved.timeout)
        except redis.RedisError as error:
            unrestored.append(
                f"Sentinel {saved.leader}: failover-timeout is to be {saved.timeout} again: "
                f"{reason_of(error)}"
            )
    values: dict[ParticipantInstance, tuple[str, str]] = {
        participants.replicas[at]: (PRIORITY, old) for at, old in saved.priorities.items()
    }
    values |= {participants.master: (FENCE, saved.fence)} if saved.fence is not None else {}
    for instance, (name, value) in values.items():
        try:
            if promoted is not None and instance is participants.master:
                _require_replica(instance, promoted)
            instance.set(name, value)
            # Sentinel had the promoted replica write its configuration, with the changed value.
            instance.rewrite()
        except redis.RedisError as error:
            unrestored.append(
                f"{instance.address}: {name} is to be {value} again: {reason_of(error)}"
            )
    return unrestored


def _require_replica(old: ParticipantInstance, promoted: str) -> None:
    if old.ask_role().role == "master":
        raise StillMaster(old.address, promoted, "it has become a master again")
