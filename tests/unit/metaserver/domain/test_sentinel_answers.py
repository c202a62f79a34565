"""What each Sentinel says about each shard, as the API tells it."""

from __future__ import annotations

from dataclasses import replace

from metaserver.domain.pool_state import Sweep
from metaserver.domain.sentinel_answers import sentinel_answers
from metaserver.domain.sentinel_view import SentinelView
from tests.support.pool_observations import MASTER, OTHER, SENTINELS, VIEW, observation


def test_each_sentinel_speaks_for_itself_and_the_majority_is_named() -> None:
    down = frozenset(("master", "s_down", "o_down"))
    odd = replace(VIEW, master=OTHER, flags=down, sentinels=1, usable=False, replicas=())
    views = {
        at: SentinelView(at, shards={"cache-0": odd if at == SENTINELS[2] else VIEW})
        for at in SENTINELS
    }
    told = sentinel_answers(observation(views=views))
    assert told["shards"] == [{"shard": "cache-0", "master": MASTER}]
    assert [each["shards"][0]["master"] for each in told["sentinels"]] == [MASTER, MASTER, OTHER]
    assert told["sentinels"][2]["shards"] == [
        {
            "shard": "cache-0",
            "monitored": True,
            "master": OTHER,
            "flags": ["master", "o_down", "s_down"],
            "quorum": 2,
            "usable": False,
            "replicas": 0,
            "other_sentinels": 0,
        }
    ]


def test_who_does_not_answer_and_who_does_not_monitor() -> None:
    views = {
        SENTINELS[0]: SentinelView(SENTINELS[0], error="Connection refused"),
        SENTINELS[1]: SentinelView(SENTINELS[1]),
        SENTINELS[2]: SentinelView(SENTINELS[2], shards={"cache-0": VIEW}),
    }
    told = sentinel_answers(observation(views=views))
    silent, ignorant, knowing = told["sentinels"]
    assert (silent["up"], silent["error"], silent["shards"]) == (False, "Connection refused", [])
    assert ignorant["up"]
    assert not ignorant["shards"][0]["monitored"]
    assert knowing["shards"][0]["monitored"]
    assert told["shards"][0]["master"] == MASTER, "of those that monitor it"


def test_half_of_them_are_no_majority() -> None:
    views = {
        at: SentinelView(at, shards={"cache-0": replace(VIEW, master=master)})
        for at, master in zip(SENTINELS, (MASTER, OTHER), strict=False)
    }
    assert sentinel_answers(observation(views=views))["shards"][0]["master"] is None


def test_shards_that_are_emptied_are_told_of_too() -> None:
    sweep = Sweep(1, "cache", "cache-9", OTHER, 4, True, "running", 120, "", 0.0)
    told = sentinel_answers(observation(sweeps=(sweep,)))
    assert [each["shard"] for each in told["shards"]] == ["cache-0", "cache-9"]
    assert [each["monitored"] for each in told["sentinels"][0]["shards"]] == [True, False]
