"""How far a migration is, as the pool document tells clients.

    prepare    commands on keys of this stage wait, so that nobody acts by the rule of before
    move       a key of this stage may still be at its source: it is pulled before it is asked for

P is the placement of the document, Q that of the migration. Keys of earlier stages are at Q
already, those of later ones at P still (`cachemesh.core.migration.stages`). A migration that is
turned back moves the keys of a stage from Q to P; the stages before follow, the last one first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import Placement

PhaseName: TypeAlias = Literal["prepare", "move"]


@dataclass(frozen=True)
class Migration:
    """A change of placement in progress.

    Attributes:
        phase: as drawn above.
        placement: Q.
        moves: keys are moved, stage by stage. If not, Q is stored next, and the keys are dropped;
            until then commands on all keys that change their shard are held.
        stage, stages: which stage it is, from 0 on, and how many there are.
        back: keys move from Q to P.
        done: shards that have none left of the keys that move from them in this stage.
        lost: shards whose data is lost, as an operator has said. Nobody asks them any more for the
            keys that move from them. Each one has a stage prepared anew, once keys have moved.
        replicas: shard -> how many of its replicas have to acknowledge; 0 for those left out.
        id: tells it from another one between the same placements; 0 of one that has none.
    """

    phase: PhaseName
    placement: Placement
    moves: bool = False
    stage: int = 0
    stages: int = 1
    back: bool = False
    done: frozenset[str] = frozenset()
    replicas: Mapping[str, int] = field(default_factory=dict)
    id: int = 0
    lost: frozenset[str] = frozenset()

    @property
    def begun(self) -> bool:
        """Whether some keys may have moved already."""
        return self.moves and (
            self.phase == "move" or self.stage > 0 or self.back or bool(self.lost)
        )

    def is_of(self, other: Migration) -> bool:
        """Return whether both are phases of one migration, in one direction, with equal losses."""
        mine = (self.id, self.moves, self.stages, self.back, self.lost, self.placement)
        return mine == (
            other.id,
            other.moves,
            other.stages,
            other.back,
            other.lost,
            other.placement,
        )

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Migration:
        """Return the migration that the ``migration`` object of a pool document describes.

        A strategy or phase of a later release may have any rule; it counts as one in which
        commands are held.

        Raises:
            InvalidDocumentError: a field is not valid; the message names the field.
        """
        placement = Placement.from_dict(kept.get("placement"))
        named = kept.get("phase")
        phase = _PHASES.get(named) if isinstance(named, str) else None
        if kept.get("strategy") != "move" or phase is None:
            return cls("prepare", placement)
        stage, stages = kept.get("stage", 0), kept.get("stages", 1)
        if not (_is_count(stage) and _is_count(stages) and stage < stages <= 2):
            raise InvalidDocumentError(
                f"migration: stage {stage!r} of {stages!r}; there are one or two, from 0 on"
            )
        replicas = kept.get("replicas", {})
        done, lost = _shards(kept, "done"), _shards(kept, "lost")
        if not (isinstance(replicas, Mapping) and all(map(_is_count, replicas.values()))):
            raise InvalidDocumentError("migration.replicas is not an object of numbers")
        number = kept.get("id", 0)
        if not _is_count(number):
            raise InvalidDocumentError(f"migration: id {number!r} is not a number from 0 on")
        return cls(
            phase,
            placement,
            id=number,
            moves=True,
            stage=stage,
            stages=stages,
            back=kept.get("back") is True,
            done=done,
            lost=lost,
            replicas={str(shard): count for shard, count in replicas.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the reverse of `from_dict`."""
        told = {
            "phase": self.phase,
            "strategy": "move" if self.moves else "drop",
            "placement": self.placement.to_dict(),
        }
        if not self.moves:
            return told
        return {
            **told,
            "id": self.id,
            "stage": self.stage,
            "stages": self.stages,
            "back": self.back,
            "done": sorted(self.done),
            "lost": sorted(self.lost),
            "replicas": dict(self.replicas),
        }


_PHASES: dict[str, PhaseName] = {"prepare": "prepare", "move": "move"}


def _shards(kept: Mapping[str, Any], name: str) -> frozenset[str]:
    shards = kept.get(name, [])
    if not isinstance(shards, (list, tuple)):
        raise InvalidDocumentError(f"migration.{name} is not a list of shards")
    return frozenset(str(shard) for shard in shards)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
