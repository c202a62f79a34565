"""What is configured wrong in a pool: its servers are asked, and the rules applied."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from metaserver.domain.diagnosis.rules import diagnose
from metaserver.process.clock import rfc3339
from metaserver.redis_io.pool_facts import FactGatherer
from metaserver.service.context import ServiceContext

_AT_WORK = ("failing over", "joining", "draining")


def diagnose_pool(context: ServiceContext, pool: str) -> dict[str, Any]:
    """Return the findings about a pool, as docs/api.md shows them; nothing is changed.

    Raises:
        RequestRefused: pool-not-found.
        StorageError: the store does not answer.
    """
    state = context.state(pool)
    facts = FactGatherer(context.config, context.networks).gather(state)
    # Work that began meanwhile explains what was found, too.
    shards = context.monitor.status(pool)["shards"]
    busy = {shard["name"] for shard in shards if shard["state"] in _AT_WORK}
    for each in (state, context.state(pool)):
        busy |= {*each.failovers, *each.work}
    diagnosis = diagnose(facts.without(busy))
    return {
        "pool": pool,
        "version": state.document.version,
        "at": rfc3339(),
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "not_checked": [asdict(each) for each in diagnosis.not_checked],
    }
