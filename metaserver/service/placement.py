"""The placement of a pool's keys: dealt evenly again, or another one of the same shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cachemesh.core.placement import Placement, SlotsPlacement
from cachemesh.core.placement.base import unknown_fields
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.planning import ChangePlan, plan_placement
from metaserver.service import resizing
from metaserver.service.change import PoolChange, outline
from metaserver.service.context import ServiceContext, refuse_during_sweep
from metaserver.service.pools import apply
from metaserver.service.shards import How, known_masters


def set_placement(
    context: ServiceContext,
    actor: str,
    pool: str,
    fields: Mapping[str, Any] | None,
    labels: Mapping[str, str],
    *,
    how: How,
    version: int | None = None,
    dry_run: bool = False,
) -> PoolChange:
    """Deal the keys of a pool to its shards anew.

    Args:
        fields, labels: as in `plan_placement`.

    Raises:
        RequestRefused, InvalidDocumentError, StorageError: nothing was changed.
    """
    state = context.state(pool, version)
    plan = how.of(plan_placement(state.document, fields, labels))
    refuse_during_sweep(plan, state)
    event = NewEvent(
        "pool.placement", actor, pool, None, plan.summary, *map(_told, (plan.before, plan.after))
    )
    keys, masters = context.key_counts(pool), known_masters(context, state)
    change = apply(context, plan, event, masters, keys=keys, sampling=how.sampling, dry_run=dry_run)
    change = resizing.carried_out(context, change)
    return change.replace(warnings=[*_of_other_programs(plan), *change.warnings])


def _told(document: PoolDocument | None) -> dict[str, object] | None:
    """Return a pool for the audit log, with how it places keys."""
    if document is None:
        return None
    placement = unknown_fields(document.placement.to_dict(), "shards")
    return {**outline(document), "placement": placement}


def _of_other_programs(plan: ChangePlan) -> list[str]:
    """Return a warning if other programs may place keys as the pool has done so far."""
    before: Placement | None = None if plan.before is None else plan.before.placement
    if before is None or before.strategy == SlotsPlacement.strategy or plan.changes_nothing:
        return []
    other = f"another program that places keys by {before.strategy}"
    return [f"{other} no longer finds those that move"]
