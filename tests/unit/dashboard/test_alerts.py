"""Alerts: what a fault costs, since when it is there, why, and what comes next."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from dashboard.alerts import NAMED, SINGLY, alerts_of, all_well
from dashboard.events import EventLine
from tests.support.pool_statuses import dead, instance, pool_of, shard, status

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
PROSPECT = "Sentinel fails over once it takes the master for down"


def event(action: str, target: str, minutes: int) -> EventLine:
    at = NOW - timedelta(minutes=minutes)
    return EventLine(str(minutes), at, None, "bad", "", "", action, target)


def broken(**sentinel: Any) -> dict[str, Any]:
    """A pool of five shards, of which one is down."""
    news = pool_of(5)
    told = {"quorum": 2, "seen_by": 3, "of": 3} | sentinel
    news["shards"][2] |= {
        "state": "down",
        "master": dead("10.0.0.2:6379"),
        "reason": f"master 10.0.0.2:6379: Connection refused; {PROSPECT}",
        "sentinel": told,
    }
    return news


def test_a_shard_that_is_down_tells_what_it_costs_who_agrees_and_what_comes() -> None:
    events = (event("shard.down", "cache-2", 1), event("shard.up", "cache-2", 9))
    (alert,) = alerts_of(broken(down_votes=1), events)
    assert (alert.level, alert.headline, alert.shards) == ("down", "cache-2 is down", ("cache-2",))
    assert alert.impact == "20.0% of the keys are not served"
    assert alert.since == NOW - timedelta(minutes=1)
    assert alert.why == "master 10.0.0.2:6379: Connection refused"
    assert alert.watched == "Sentinels that take it for down: 1 of 3, quorum 2"
    assert alert.next_step == PROSPECT


def test_a_metaserver_that_counts_no_votes_is_quoted_with_what_it_says() -> None:
    (alert,) = alerts_of(broken())
    assert alert.watched == "3 of 3 Sentinels watch it, quorum 2"
    assert alert.since is None


def test_a_shard_that_was_up_again_is_down_since_an_unknown_time() -> None:
    events = (event("shard.up", "cache-2", 1), event("shard.down", "cache-2", 9))
    (alert,) = alerts_of(broken(), events)
    assert alert.since is None


def test_a_degraded_shard_says_what_to_start() -> None:
    gone = dead("r:1")
    news = status(shard("a", 1.0, instance("h:1"), gone))
    news["shards"][0] |= {"state": "degraded", "reason": "replica r:1: Connection refused"}
    (alert,) = alerts_of(news)
    assert alert.impact == "all its keys are served, by its master alone"
    assert alert.next_step == "start r:1 again, or look at the machine"
    news["shards"][0]["replicas"].append(instance("r:2", role="replica", link="up"))
    assert alerts_of(news)[0].impact == "all its keys are served"


def test_a_sentinel_that_is_down_says_whether_failovers_still_happen() -> None:
    news = pool_of(1)
    news["sentinels"] = [{"address": f"s:{number}", "up": number > 0} for number in range(3)]
    (alert,) = alerts_of(news)
    assert alert.impact == "no key is affected; failovers still happen"
    news["sentinels"][1]["up"] = False
    assert [each.impact for each in alerts_of(news)] == [
        "no key is affected; no failover can happen"
    ] * 2


def test_many_shards_in_one_state_share_an_alert_that_names_them() -> None:
    down = {f"cache_{number}": "down" for number in range(20)}
    (alert,) = alerts_of(pool_of(40, **down))
    assert alert.headline == "20 shards are down"
    assert alert.impact == "50.0% of the keys are not served"
    assert alert.shards == tuple(f"cache-{number}" for number in range(NAMED))
    assert alert.more == 20 - NAMED
    few = {f"cache_{number}": "down" for number in range(SINGLY)}
    assert len(alerts_of(pool_of(40, **few))) == SINGLY


def test_a_shared_alert_gives_the_reason_that_most_have() -> None:
    news = pool_of(6, **{f"cache_{number}": "degraded" for number in range(6)})
    for each in news["shards"]:
        each["reason"] = "no answer from s:1"
    assert alerts_of(news)[0].why == "no answer from s:1"
    news["shards"][0]["reason"] = "another"
    assert alerts_of(news)[0].why == "5 of them: no answer from s:1"


def test_work_that_goes_as_planned_is_calm_and_comes_last() -> None:
    news = pool_of(4, cache_0="joining", cache_1="failing over", cache_2="down")
    assert [(each.level, each.headline) for each in alerts_of(news)] == [
        ("down", "cache-2 is down"),
        ("info", "cache-1 is failing over"),
        ("info", "cache-0 is joining"),
    ]


def test_a_pause_says_by_whom_for_how_long_and_why() -> None:
    told = {"by": "token:ops", "since": "2026-01-01T00:00:00.000Z", "reason": "new disks"}
    (alert,) = alerts_of({**pool_of(1), "pause": {**told, "state": "paused"}})
    assert (alert.level, alert.headline, alert.why) == ("info", "Paused by ops", "new disks")
    assert (alert.since, alert.watched) == (NOW, "")
    (alert,) = alerts_of({**pool_of(1), "pause": {**told, "state": "pausing"}})
    assert alert.headline == "Being paused by ops"
    assert "hold commands" in alert.watched
    assert alerts_of({**pool_of(1), "pause": None}) == ()


def test_without_an_alert_it_is_said_what_serves() -> None:
    news = pool_of(40)
    news["sentinels"] = [{"address": f"s:{number}", "up": True} for number in range(3)]
    assert all_well(news) == "No alerts: 40 shards up, 3 of 3 Sentinels up"
    assert alerts_of(news) == ()
    assert "Nothing is known" in all_well({})
