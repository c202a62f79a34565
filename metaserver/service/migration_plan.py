"""The plan of a resize that moves keys: what the shards tell before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cachemesh.core.migration.phase import Migration
from cachemesh.core.migration.routing import leaving
from metaserver.domain.key_sample import ShardSample
from metaserver.domain.migration_plan import MigrationPlan
from metaserver.domain.migration_time import MOST_VALUE
from metaserver.domain.planning import ChangePlan
from metaserver.domain.shard_memory import ShardMemory
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.key_sampler import WITHIN, Sampling, memory_of, sample_of
from metaserver.redis_io.resp import LARGE
from metaserver.redis_io.shard_masters import ShardMasters
from metaserver.service.context import ServiceContext
from metaserver.service.move_check import speed_of


def look_ahead(
    context: ServiceContext, plan: ChangePlan, masters: Mapping[str, str], sampling: Sampling
) -> MigrationPlan | None:
    """Look at the shards of a resize before it begins; None if it moves no keys.

    Args:
        masters: shard -> its last known master, also of a shard that is to be added.
    """
    before, after = plan.before, plan.after
    if plan.strategy != "move" or not plan.moves_keys or before is None or after is None:
        return None
    migration = Migration("move", after.placement)

    def look(shard: str, connection: BoundedConnection) -> tuple[ShardMemory, ShardSample | None]:
        memory = memory_of(connection)
        if shard not in plan.losers:
            return memory, None
        leaves = leaving(before.placement, migration, shard)
        return memory, sample_of(connection, shard, leaves, sampling, memory.used)

    asked = ShardMasters(context.config, context.networks, before.sentinels, masters, limits=LARGE)
    concerned = sorted({*plan.losers, *plan.gainers})
    seen = asked.ask(concerned, look, within=WITHIN + context.config.instance_timeout)
    found = MigrationPlan(
        plan,
        sampling.big_key,
        {shard: memory for shard, (memory, _) in seen.given.items()},
        {shard: sample for shard, (_, sample) in seen.given.items() if sample is not None},
        seen.failed,
    )
    if not found.moving:
        return found
    pair, most = max(found.moving.items(), key=lambda each: each[1].keys.value)
    value = min(MOST_VALUE, round(most.mean))
    return replace(found, speed=speed_of(context, plan, masters, pair, value))
