"""Observations of a healthy pool with one shard, "cache-0"; tests change one thing each."""

from __future__ import annotations

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.pool_state import PoolState, Sweep
from metaserver.domain.sentinel_view import MonitoredShard, SentinelView
from metaserver.domain.status import InstanceSample, Observation

MASTER, REPLICA, OTHER = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"


SENTINELS = ("10.0.0.7:26379", "10.0.0.8:26379", "10.0.0.9:26379")


DOCUMENT = PoolDocument(
    pool="cache",
    version=4,
    placement=SlotsPlacement.even([Shard("cache-0")]),
    sentinels=SENTINELS,
)


VIEW = MonitoredShard(
    master=MASTER,
    run_id="m",
    flags=frozenset(("master",)),
    quorum=2,
    sentinels=3,
    usable=True,
    detail="OK 3 usable Sentinels. Quorum and failover authorization can be reached",
    replicas=(REPLICA,),
    options={},
)


MASTER_INFO = {
    "run_id": "m",
    "redis_version": "7.0.15",
    "role": "master",
    "uptime_in_seconds": "3600",
    "connected_clients": "12",
    "used_memory": "1048576",
    "maxmemory": "0",
    "maxmemory_policy": "allkeys-lru",
    "evicted_keys": "0",
    "instantaneous_ops_per_sec": "50",
    "total_commands_processed": "1000",
    "keyspace_hits": "100",
    "keyspace_misses": "100",
    "master_repl_offset": "5000",
    "slave0": "ip=10.0.0.2,port=6379,state=online,offset=4900,lag=0",
    "db0": "keys=5000,expires=1,avg_ttl=0",
    "db3": "keys=123,expires=0,avg_ttl=0",
}


REPLICA_INFO = {
    **{name: value for name, value in MASTER_INFO.items() if name != "slave0"},
    "run_id": "r",
    "role": "slave",
    "master_link_status": "up",
    "master_last_io_seconds_ago": "1",
    "slave_repl_offset": "4900",
}


def observation(
    *,
    view: MonitoredShard | None = VIEW,
    views: dict[str, SentinelView] | None = None,
    master: dict[str, str] | str = MASTER_INFO,
    replica: dict[str, str] | str = REPLICA_INFO,
    earlier: dict[str, str] | None = None,
    sweeps: tuple[Sweep, ...] = (),
    masters: dict[str, str] | None = None,
) -> Observation:
    """Return an observation of a pool with the shard "cache-0".

    Args:
        view: what each Sentinel knows of the shard; None: nothing.
        views: Sentinel -> its view, in place of the same one for all.
        master: INFO of the master, or the error in place of it.
        replica: INFO of the replica, or the error in place of it.
        earlier: INFO of the master a second before; None: no earlier sample.
        sweeps: of the pool.
        masters: shard -> remembered master.
    """

    def sample(address: str, found: dict[str, str] | str) -> InstanceSample:
        if isinstance(found, str):
            return InstanceSample(address, 10.0, error=found)
        return InstanceSample(address, 10.0, found)

    shards = {} if view is None else {"cache-0": view}
    return Observation(
        at="2026-01-01T00:00:00.000Z",
        state=PoolState(DOCUMENT, sweeps, masters or {}),
        views=views or {at: SentinelView(at, shards=shards) for at in SENTINELS},
        samples={MASTER: sample(MASTER, master), REPLICA: sample(REPLICA, replica)},
        earlier={MASTER: InstanceSample(MASTER, 6.0, earlier)} if earlier else {},
        clients=3,
    )
