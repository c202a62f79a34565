"""The metrics of GET /metrics, in the Prometheus text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cachemesh.core.quality.histogram import LatencyHistogram, upper_bound

_BOUNDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

RequestOutcome: TypeAlias = Literal["read", "changed", "unchanged", "planned", "refused", "failed"]
"""The outcome of a request: `planned` is a dry run, `unchanged` a change that had nothing to do,
`refused` a 4xx, `failed` a 5xx."""

# name -> (type, help)
METRICS: dict[str, tuple[str, str]] = {
    "cachemesh_metaserver_leader": ("gauge", "1 on the process that runs the background loops"),
    "cachemesh_metaserver_requests_total": (
        "counter",
        "Requests by operation, HTTP status and outcome",
    ),
    "cachemesh_metaserver_watches": ("gauge", "Watch calls held right now"),
    "cachemesh_webhook_taken_events_total": ("counter", "Events that the URL has taken"),
    "cachemesh_webhook_failed_posts_total": ("counter", "Attempts in which it took none"),
    "cachemesh_webhook_skipped_events_total": (
        "counter",
        "Events that were deleted from the audit log before the URL took them",
    ),
    "cachemesh_webhook_waiting_events": ("gauge", "Events that the URL has still to take"),
    "cachemesh_webhook_failing": ("gauge", "1 if the last attempt failed"),
    "cachemesh_pool_version": ("gauge", "Version of the pool document"),
    "cachemesh_pool_shards": ("gauge", "Shards of the pool"),
    "cachemesh_pool_clients": ("gauge", "Live clients of the pool on this process"),
    "cachemesh_pool_clients_by_sdk": (
        "gauge",
        "Live clients of the pool on this process, by name and version of their library",
    ),
    "cachemesh_pool_paused": ("gauge", "1 while an operator has paused the pool"),
    "cachemesh_pool_sweeps": ("gauge", "Unfinished sweeps of the pool"),
    "cachemesh_pool_failed_sweeps": ("gauge", "Sweeps that failed, and are tried again"),
    "cachemesh_pool_oldest_sweep_start_time_seconds": (
        "gauge",
        "When the oldest unfinished sweep was stored, in seconds since the epoch",
    ),
    "cachemesh_pool_observation_time_seconds": (
        "gauge",
        "When the leader last looked at the pool's instances, in seconds since the epoch",
    ),
    "cachemesh_resize_under_way": ("gauge", "1 while the pool is resized"),
    "cachemesh_resize_start_time_seconds": ("gauge", "When it began, in seconds since the epoch"),
    "cachemesh_resize_longest_hold_seconds": (
        "gauge",
        "For how long clients were asked to hold commands, in the longest attempt",
    ),
    "cachemesh_resize_paused": ("gauge", "1 while an operator has paused the move"),
    "cachemesh_resize_moved_keys": ("gauge", "Keys that the leader has moved"),
    "cachemesh_resize_left_keys": ("gauge", "Keys left to move in this stage, estimated"),
    "cachemesh_resize_moved_keys_per_second": ("gauge", "Keys moved, over the last seconds"),
    "cachemesh_shard_up": ("gauge", "1 if the shard's master answers"),
    "cachemesh_shard_state": ("gauge", "1 for the state that the shard is in, 0 for the others"),
    "cachemesh_shard_share_ratio": (
        "gauge",
        "Share of the pool's keys that the shard owns, 0 to 1",
    ),
    "cachemesh_shard_keys": ("gauge", "Keys on the shard's master"),
    "cachemesh_shard_replicas": ("gauge", "Replicas of the shard that are known"),
    "cachemesh_shard_replicas_up": ("gauge", "Replicas that answer and follow the master"),
    "cachemesh_shard_failover_possible": (
        "gauge",
        "1 if a replica answers, and a majority of Sentinels can fail the shard over",
    ),
    "cachemesh_instance_up": ("gauge", "1 if the instance answers"),
    "cachemesh_instance_role": ("gauge", "1 for the role that the instance has, 0 for the other"),
    "cachemesh_instance_info": ("gauge", "1, with the server's version and its eviction policy"),
    "cachemesh_instance_uptime_seconds": ("gauge", "Seconds since the server was started"),
    "cachemesh_instance_keys": ("gauge", "Keys of the instance, in all databases"),
    "cachemesh_instance_commands_total": ("counter", "Commands that the server has processed"),
    "cachemesh_instance_keyspace_hits_total": ("counter", "Reads that found their key"),
    "cachemesh_instance_keyspace_misses_total": ("counter", "Reads that did not find their key"),
    "cachemesh_instance_evicted_keys_total": ("counter", "Keys evicted to make room"),
    "cachemesh_instance_expired_keys_total": ("counter", "Keys whose time to live was over"),
    "cachemesh_instance_memory_used_bytes": ("gauge", "Memory that the server has allocated"),
    "cachemesh_instance_memory_max_bytes": ("gauge", "The server's maxmemory; 0: no limit"),
    "cachemesh_instance_connections": ("gauge", "Connections of clients"),
    "cachemesh_instance_connections_max": ("gauge", "The server's maxclients"),
    "cachemesh_instance_connections_rejected_total": (
        "counter",
        "Connections refused because of maxclients",
    ),
    "cachemesh_instance_network_received_bytes_total": ("counter", "Bytes read from the network"),
    "cachemesh_instance_network_sent_bytes_total": ("counter", "Bytes written to the network"),
    "cachemesh_instance_replicas": ("gauge", "Replicas that are connected to the instance"),
    "cachemesh_instance_replication_link_up": (
        "gauge",
        "1 if the replica's link to its master is up",
    ),
    "cachemesh_instance_replication_lag_bytes": (
        "gauge",
        "Bytes of the master's replication stream that the replica has not processed",
    ),
    "cachemesh_instance_replication_lag_seconds": (
        "gauge",
        "Seconds since the replica last heard its master, or since its link is down",
    ),
    "cachemesh_sentinel_up": ("gauge", "1 if the Sentinel answers"),
    "cachemesh_sentinel_agrees": (
        "gauge",
        "1 if the Sentinel names the same master of the shard as most Sentinels do",
    ),
    "cachemesh_apps_calls_total": (
        "counter",
        "Calls of the shard that were answered, as this process's clients report",
    ),
    "cachemesh_apps_errors_total": (
        "counter",
        "Calls of the shard that failed for apps, by class, as this process's clients report",
    ),
    "cachemesh_apps_latency_seconds": (
        "histogram",
        "Latency of the shard's calls, as this process's clients report",
    ),
}


@dataclass(frozen=True)
class Measurement:
    """One sample of a metric in METRICS; `suffix` tells the samples of a histogram apart."""

    name: str
    value: float
    labels: Mapping[str, str]
    suffix: str = ""


def histogram(
    name: str, latency: LatencyHistogram, labels: Mapping[str, str]
) -> Iterator[Measurement]:
    """Yield the samples of a histogram in seconds; the sum is at most an eighth too high."""
    ordered = sorted(latency.counts.items())
    for bound in _BOUNDS:
        below = sum(count for bucket, count in ordered if upper_bound(bucket) <= bound * 1.0001)
        yield Measurement(name, below, {**labels, "le": f"{bound:g}"}, "_bucket")
    yield Measurement(name, latency.calls, {**labels, "le": "+Inf"}, "_bucket")
    total = sum(upper_bound(bucket) * count for bucket, count in ordered)
    yield Measurement(name, total, labels, "_sum")
    yield Measurement(name, latency.calls, labels, "_count")


class Counters:
    """The requests counted since the process started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int, RequestOutcome]] = Counter()

    def count_request(self, operation: str, status: int, outcome: RequestOutcome) -> None:
        """Count a request; `outcome` is its outcome unless the status is an error."""
        if status >= 400:
            outcome = "failed" if status >= 500 else "refused"
        with self._lock:
            self._requests[operation, status, outcome] += 1

    def measurements(self) -> list[Measurement]:
        """Return the counts as measurements."""
        with self._lock:
            counted = sorted(self._requests.items())
        return [
            Measurement(
                "cachemesh_metaserver_requests_total",
                count,
                {"operation": operation, "status": str(status), "outcome": outcome},
            )
            for (operation, status, outcome), count in counted
        ]


def render(measurements: Iterable[Measurement]) -> str:
    """Return measurements in the text format, those of one metric together."""
    lines: dict[str, list[str]] = {}
    for each in measurements:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in each.labels.items())
        name = each.name + each.suffix
        sample = f"{name}{{{labels}}}" if labels else name
        lines.setdefault(each.name, []).append(f"{sample} {_number(each.value)}")
    text: list[str] = []
    for name, (kind, description) in METRICS.items():
        if name in lines:
            text += [f"# HELP {name} {description}", f"# TYPE {name} {kind}", *lines[name]]
    return "\n".join(text) + "\n"


def _number(value: float) -> str:
    """Return a number in full: rounded to six digits, a time would be days off."""
    return f"{value:g}" if abs(value) < 1e5 else repr(float(value)).removesuffix(".0")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
