"""The outcome of a change of a pool, as docs/api.md and the audit log show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cachemesh.core.placement import SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.migration_plan import MigrationPlan
from metaserver.domain.planning import ChangePlan, keys_moved, moves_as_dicts, what_is_lost


@dataclass(frozen=True)
class PoolChange:
    """The outcome of a change, or with `dry_run` its preview.

    Attributes:
        after: the document after the change; None after a deletion.
        steps: what was done, or would be, in words.
        keys: shard -> its number of keys before, None where that is not known.
        resize: how far the resize is, as in the status, if it was not over in time.
        migration: of a preview, what a look at the shards has told, if keys are moved.
    """

    plan: ChangePlan
    dry_run: bool
    pool: str
    version_before: int
    version_after: int
    after: PoolDocument | None
    steps: Sequence[str]
    keys: Mapping[str, int | None]
    warnings: Sequence[str] = ()
    resize: Mapping[str, Any] | None = None
    migration: MigrationPlan | None = None

    def replace(self, **changes: Any) -> PoolChange:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the change as docs/api.md shows it."""
        return {
            "dry_run": self.dry_run,
            "pool": self.pool,
            "version_before": self.version_before,
            "version_after": self.version_after,
            "summary": self.plan.summary,
            "steps": list(self.steps),
            "moves": moves_as_dicts(self.plan.moves.by_pair),
            "moved_slots": self.plan.moves.slots,
            "moved_share": self.plan.moves.share,
            "keys_moved": keys_moved(self.plan, self.keys),
            "destroys": what_is_lost(self.plan, self.keys),
            "warnings": list(self.warnings),
            "resize": self.resize,
            "migration": None if self.migration is None else self.migration.to_dict(),
            "document": None if self.after is None else self.after.to_dict(),
        }


def outline(document: PoolDocument) -> dict[str, object]:
    """Return the version and the shards of a pool, for the audit log."""
    placement = document.placement
    counts = placement.slot_counts() if isinstance(placement, SlotsPlacement) else {}
    return {
        "version": document.version,
        "shards": [
            {"name": shard.name, "weight": shard.weight, "slots": counts.get(shard.name)}
            for shard in placement.shards
        ],
    }
