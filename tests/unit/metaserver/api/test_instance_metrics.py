"""What /metrics has of shards, instances and Sentinels."""

from __future__ import annotations

from dataclasses import replace

from metaserver.api.instance_metrics import INFO_FIELDS, of_instances
from metaserver.api.metrics import METRICS, Measurement, render
from metaserver.domain.sentinel_view import SentinelView
from metaserver.domain.status import Observation, pool_status
from tests.support.pool_observations import (
    MASTER,
    MASTER_INFO,
    OTHER,
    REPLICA,
    REPLICA_INFO,
    SENTINELS,
    VIEW,
    observation,
)


def measured(seen: Observation) -> list[Measurement]:
    return list(of_instances(pool_status(seen), seen))


def value(seen: Observation, name: str, **labels: str) -> list[float]:
    """Return the values of a metric whose labels have at least these values."""
    return [
        float(each.value)
        for each in measured(seen)
        if each.name == f"cachemesh_{name}" and labels.items() <= each.labels.items()
    ]


def test_every_metric_is_declared_and_has_the_labels_of_its_kind() -> None:
    kinds = {"shard": {"shard"}, "instance": {"shard", "address"}, "sentinel": {"sentinel"}}
    for each in measured(observation()):
        assert each.name in METRICS
        kind = each.name.split("_")[1]
        assert {"pool"} | kinds.get(kind, set()) <= set(each.labels), each.name


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name, (kind, _) in METRICS.items():
        assert name.startswith("cachemesh_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert not name.endswith(("_ms", "_milliseconds", "_kb", "_percent", "_count")), name


def test_counters_are_those_of_the_server_itself() -> None:
    numbers = {field: str(1000 + at) for at, field in enumerate(INFO_FIELDS.values())}
    seen = observation(master={**MASTER_INFO, **numbers})
    for at, name in enumerate(INFO_FIELDS):
        found = value(seen, name.removeprefix("cachemesh_"), address=MASTER)
        assert found == [1000.0 + at], name


def test_what_an_instance_does_not_tell_is_left_out() -> None:
    seen = observation(master={**MASTER_INFO, "keyspace_hits": "many"})
    assert value(seen, "instance_keyspace_hits_total", address=MASTER) == []
    assert value(seen, "instance_expired_keys_total", address=MASTER) == []


def test_an_instance_that_does_not_answer_is_down_and_tells_nothing_else() -> None:
    seen = observation(replica="timed out")
    of_it = [each.name for each in measured(seen) if each.labels.get("address") == REPLICA]
    assert of_it == ["cachemesh_instance_up"]
    assert value(seen, "instance_up", address=REPLICA) == [0]
    assert value(seen, "shard_replicas") == [1]
    assert value(seen, "shard_replicas_up") == [0]
    assert value(seen, "shard_failover_possible") == [0]


def test_roles_and_lag() -> None:
    seen = observation()
    assert value(seen, "instance_role", address=MASTER, role="master") == [1]
    assert value(seen, "instance_role", address=REPLICA, role="master") == [0]
    assert value(seen, "instance_role", address=REPLICA, role="replica") == [1]
    assert value(seen, "instance_replication_lag_bytes", address=REPLICA) == [100]
    assert value(seen, "instance_replication_lag_seconds", address=REPLICA) == [1]
    assert value(seen, "instance_replication_lag_bytes", address=MASTER) == []
    assert value(seen, "instance_replication_link_up", address=REPLICA) == [1]


def test_a_shard_has_one_state_of_all_that_there_are() -> None:
    states = {
        each.labels["state"]: each.value
        for each in measured(observation(master="refused"))
        if each.name == "cachemesh_shard_state"
    }
    assert states.keys() == {"up", "failing over", "joining", "degraded", "down", "draining"}
    assert [state for state, on in states.items() if on] == ["down"]


def test_a_shard_that_is_down_says_for_how_many_keys() -> None:
    seen = observation(master="refused")
    assert value(seen, "shard_up") == [0]
    assert value(seen, "shard_share_ratio") == [1]
    assert value(seen, "shard_keys") == [], "nobody knows"


def test_sentinels_that_differ_are_named() -> None:
    other = replace(VIEW, master=OTHER)
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS}
    views[SENTINELS[0]] = SentinelView(SENTINELS[0], shards={"cache-0": other})
    views[SENTINELS[1]] = SentinelView(SENTINELS[1], shards={"cache-0": VIEW})
    seen = observation(views=views)
    agree = [value(seen, "sentinel_agrees", sentinel=each) for each in SENTINELS]
    assert agree == [[0], [1], [1]]


def test_a_sentinel_that_does_not_answer_agrees_with_nobody() -> None:
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS}
    views[SENTINELS[2]] = SentinelView(SENTINELS[2], error="refused")
    seen = observation(views=views)
    assert value(seen, "sentinel_up", sentinel=SENTINELS[2]) == [0]
    assert value(seen, "sentinel_agrees", sentinel=SENTINELS[2]) == []
    assert value(seen, "sentinel_agrees", sentinel=SENTINELS[0], shard="cache-0") == [1]


def test_a_sentinel_that_does_not_know_the_shard_does_not_agree() -> None:
    views = {at: SentinelView(at, shards={"cache-0": VIEW}) for at in SENTINELS}
    views[SENTINELS[1]] = SentinelView(SENTINELS[1])
    assert value(observation(views=views), "sentinel_agrees", sentinel=SENTINELS[1]) == [0]


def test_what_an_instance_calls_itself_is_bounded_and_escaped() -> None:
    seen = observation(replica={**REPLICA_INFO, "redis_version": 'a"\n' + "b" * 1000})
    text = render(each for each in measured(seen) if each.name == "cachemesh_instance_info")
    assert 'redis_version="a\\"\\n' + "b" * 37 + '"' in text


def test_when_it_was_observed() -> None:
    assert value(observation(), "pool_observation_time_seconds", pool="cache") == [1767225600]
