"""The metrics of a pool's shards, instances and Sentinels, from the monitor's last observation.

status document --> what is up, in which role and state, and how far replicas are behind
INFO            --> the server's own counters and gauges, as they are
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from metaserver.api.metrics import Measurement
from metaserver.api.resize_metrics import seconds_since_epoch
from metaserver.domain.info_fields import integer
from metaserver.domain.sentinel_view import SentinelView, majority
from metaserver.domain.shard_state import ShardState, views_of
from metaserver.domain.status import Observation

INFO_FIELDS = {
    "cachemesh_instance_uptime_seconds": "uptime_in_seconds",
    "cachemesh_instance_commands_total": "total_commands_processed",
    "cachemesh_instance_keyspace_hits_total": "keyspace_hits",
    "cachemesh_instance_keyspace_misses_total": "keyspace_misses",
    "cachemesh_instance_evicted_keys_total": "evicted_keys",
    "cachemesh_instance_expired_keys_total": "expired_keys",
    "cachemesh_instance_memory_used_bytes": "used_memory",
    "cachemesh_instance_memory_max_bytes": "maxmemory",
    "cachemesh_instance_connections": "connected_clients",
    "cachemesh_instance_connections_max": "maxclients",
    "cachemesh_instance_connections_rejected_total": "rejected_connections",
    "cachemesh_instance_network_received_bytes_total": "total_net_input_bytes",
    "cachemesh_instance_network_sent_bytes_total": "total_net_output_bytes",
    "cachemesh_instance_replicas": "connected_slaves",
}
"""Metric -> field of INFO. Source: https://redis.io/docs/latest/commands/info/."""

_LONGEST_TEXT = 40  # of a label: an instance may say anything

Json = Mapping[str, Any]


def of_instances(status: Json, seen: Observation) -> Iterator[Measurement]:
    """Yield the measurements of everything that was observed of a pool.

    What an instance does not tell is left out.

    Args:
        status: the status document made from `seen`.
    """
    pool = str(status["pool"])
    observed = seconds_since_epoch(status["at"])
    if observed is not None:
        yield Measurement("cachemesh_pool_observation_time_seconds", observed, {"pool": pool})
    for shard in status["shards"]:
        labels = {"pool": pool, "shard": shard["name"]}
        yield from _of_shard(shard, labels)
        yield from _of_agreement(shard["name"], seen.views, labels)
        for each in (shard["master"], *shard["replicas"]):
            if each["address"] is not None:
                sample = seen.samples.get(each["address"])
                info = sample.info if sample is not None and each["up"] else {}
                yield from _of_instance(each, info, {**labels, "address": each["address"]})
    for sentinel in status["sentinels"]:
        labels = {"pool": pool, "sentinel": sentinel["address"]}
        yield Measurement("cachemesh_sentinel_up", sentinel["up"], labels)


def _of_shard(shard: Json, labels: Mapping[str, str]) -> Iterator[Measurement]:
    for state in get_args(ShardState):
        yield Measurement(
            "cachemesh_shard_state", shard["state"] == state, {**labels, "state": state}
        )
    following = [each for each in shard["replicas"] if each["up"] and each["link"] == "up"]
    usable = shard["sentinel"]["usable"] and any(each["up"] for each in shard["replicas"])
    figures = {
        "up": shard["state"] != "down",
        "share_ratio": shard["share"],
        "keys": shard["master"]["keys"],
        "replicas": len(shard["replicas"]),
        "replicas_up": len(following),
        "failover_possible": usable,
    }
    for name, value in figures.items():
        if value is not None:
            yield Measurement(f"cachemesh_shard_{name}", value, labels)


def _of_agreement(
    shard: str, views: Mapping[str, SentinelView], labels: Mapping[str, str]
) -> Iterator[Measurement]:
    """Yield whether each Sentinel that answers names the master that most of them name."""
    agreed = majority([view.master for view in views_of(shard, views)])
    for address, view in views.items():
        if view.error is None:
            known = view.shards.get(shard)
            agrees = known is not None and known.master == agreed
            yield Measurement("cachemesh_sentinel_agrees", agrees, {**labels, "sentinel": address})


def _of_instance(
    instance: Json, info: Mapping[str, str], labels: Mapping[str, str]
) -> Iterator[Measurement]:
    yield Measurement("cachemesh_instance_up", instance["up"], labels)
    if not instance["up"]:
        return
    for role in ("master", "replica"):
        here = {**labels, "role": role}
        yield Measurement("cachemesh_instance_role", instance["role"] == role, here)
    told = {
        name: info.get(name, "")[:_LONGEST_TEXT] for name in ("redis_version", "maxmemory_policy")
    }
    yield Measurement("cachemesh_instance_info", 1, {**labels, **told})
    if instance["keys"] is not None:
        yield Measurement("cachemesh_instance_keys", instance["keys"], labels)
    for name, field in INFO_FIELDS.items():
        value = integer(info.get(field, ""))
        if value is not None:
            yield Measurement(name, value, labels)
    link = instance.get("link")
    if link is not None:
        yield Measurement("cachemesh_instance_replication_link_up", link == "up", labels)
    for unit in ("bytes", "seconds"):
        behind = instance.get(f"lag_{unit}")
        if behind is not None:
            yield Measurement(f"cachemesh_instance_replication_lag_{unit}", behind, labels)
