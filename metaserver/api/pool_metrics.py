"""The metrics of a pool that come from the store, and from the clients of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cachemesh.core.pool.document import PoolDocument
from metaserver.api.metrics import Measurement
from metaserver.domain.pool_pause import is_paused
from metaserver.domain.pool_state import Sweep

MOST_SDKS = 20
"""Libraries that are told apart: each name is a time series, and clients choose it."""
_LONGEST_NAME = 60


def of_document(document: PoolDocument) -> Iterator[Measurement]:
    """Yield what the document of a pool tells."""
    labels = {"pool": document.pool}
    yield Measurement("cachemesh_pool_version", document.version, labels)
    yield Measurement("cachemesh_pool_shards", len(document.placement.shards), labels)
    yield Measurement("cachemesh_pool_paused", is_paused(document), labels)


def of_sdks(pool: str, sdks: Iterable[str | None]) -> Iterator[Measurement]:
    """Yield how many clients use which library; those of rare ones count as "other".

    Args:
        sdks: the library of each client; None or "" where it does not tell.
    """
    counted = Counter((sdk or "unknown")[:_LONGEST_NAME] for sdk in sdks)
    common = dict(counted.most_common(MOST_SDKS))
    rest = counted.total() - sum(common.values())
    if rest:
        common["other"] = common.get("other", 0) + rest
    for sdk in sorted(common):
        labels = {"pool": pool, "sdk": sdk}
        yield Measurement("cachemesh_pool_clients_by_sdk", common[sdk], labels)


def of_sweeps(pool: str, sweeps: Sequence[Sweep]) -> Iterator[Measurement]:
    """Yield the measurements of the unfinished sweeps; without one there is no oldest."""
    labels = {"pool": pool}
    failed = sum(sweep.state == "failed" for sweep in sweeps)
    yield Measurement("cachemesh_pool_sweeps", len(sweeps), labels)
    yield Measurement("cachemesh_pool_failed_sweeps", failed, labels)
    if sweeps:
        oldest = min(sweep.created for sweep in sweeps)
        yield Measurement("cachemesh_pool_oldest_sweep_start_time_seconds", oldest, labels)
