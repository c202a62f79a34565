"""What a planned failover sets for its time, kept in the store until all is put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import redis

from metaserver.failover.participant_instance import FENCE, PRIORITY, Instance
from metaserver.failover.participants import Side
from metaserver.failover.unresolved import StillMaster
from metaserver.redis_io.connection import reason_of


@dataclass(frozen=True)
class Notes:
    """The values from before, and who takes part.

    Attributes:
        replicas: those that Sentinel can choose from.
        leader: the Sentinel that is told to fail over; "" as long as there is none.
        timeout: its failover-timeout (ms).
        fence: the master's min-replicas-to-write; None if it was not touched.
        priorities: replica -> its replica-priority, where that is changed.
    """

    replicas: tuple[str, ...] = ()
    leader: str = ""
    timeout: int = 0
    fence: str | None = None
    priorities: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Notes:
        """The reverse of `to_dict`; also of {}."""
        return cls(**{**kept, "replicas": tuple(kept.get("replicas", ()))})

    def replace(self, **changes: Any) -> Notes:
        """A copy with some fields changed."""
        return replace(self, **changes)


def put_back(side: Side, notes: Notes, promoted: str | None = None) -> list[str]:
    """Undo every setting; what could not be undone, in words.

    Raises:
        StillMaster: `promoted` took over, and the old master does not say that it is a replica.
            Its fence stays, as all that is between its clients and writes that get lost.
    """
    left = []
    if notes.leader:
        try:
            side.watchers[notes.leader].set_timeout(notes.timeout)
        except redis.RedisError as error:
            left.append(
                f"Sentinel {notes.leader}: failover-timeout is to be {notes.timeout} again: "
                f"{reason_of(error)}"
            )
    values: dict[Instance, tuple[str, str]] = {
        side.replicas[at]: (PRIORITY, old) for at, old in notes.priorities.items()
    }
    values |= {side.master: (FENCE, notes.fence)} if notes.fence is not None else {}
    for instance, (name, value) in values.items():
        try:
            if promoted is not None and instance is side.master:
                _require_replica(instance, promoted)
            instance.set(name, value)
            # Sentinel has the promoted one write its configuration to its file, as it is then.
            instance.rewrite()
        except redis.RedisError as error:
            left.append(f"{instance.address}: {name} is to be {value} again: {reason_of(error)}")
    return left


def _require_replica(old: Instance, promoted: str) -> None:
    if old.standing().role == "master":
        raise StillMaster(old.address, promoted, "it has become a master again")
