"""When a feed takes what it has for current, and when it gives up."""

from __future__ import annotations

from datetime import datetime

import pytest

from dashboard.app import create_app
from dashboard.board import _events
from dashboard.config import DashboardConfig
from dashboard.feed import PoolFeed
from dashboard.state import new_state
from dashboard.upstream import OperatorProblem, Upstream

NOBODY = DashboardConfig(("127.0.0.1:1",), read_timeout=1.0)


@pytest.fixture
def feed() -> PoolFeed:
    """A feed whose metaserver does not answer, and which has not begun to ask."""
    return PoolFeed(Upstream(NOBODY, "t"), "cache")


def hear(feed: PoolFeed, at: str) -> datetime:
    """Have the feed hear of a status of this time; return of when it takes its data to be then."""
    feed._take_status({"at": at, "shards": []})
    last_data = feed.wait(0, 0).last_data
    assert last_data is not None
    return last_data


def test_a_status_that_is_sent_again_makes_nothing_current(feed: PoolFeed) -> None:
    """A metaserver whose monitor stands still goes on telling of documents and events."""
    feed._pools_read = feed._quality_read = float("inf")
    first = hear(feed, "12:00:00")
    assert hear(feed, "12:00:00") == first
    feed._take_event({"id": 7})
    assert feed.wait(0, 0).last_data == first
    assert feed.wait(0, 0).connected
    assert hear(feed, "12:00:01") > first


@pytest.mark.parametrize(
    ("status", "fatal"), [(401, True), (403, True), (404, True), (0, False), (429, False)]
)
def test_what_would_be_refused_again_is_not_asked_again(
    feed: PoolFeed, status: int, fatal: bool
) -> None:
    feed._lost(OperatorProblem("Refused", "for a reason", status=status))
    assert feed.wait(0, 0).fatal == fatal


def test_a_stream_ends_with_its_feed_so_that_the_browser_gets_another(feed: PoolFeed) -> None:
    shared = new_state(NOBODY)
    session = shared.sessions.create("t", "read")
    feed.start()
    feed.stop()
    with create_app(NOBODY).test_request_context("/"):
        told = list(_events(shared, session, "cache", feed, {}))
    assert told[-1].startswith("event: fragments")


def test_the_metaserver_that_answered_is_remembered_while_somebody_is_signed_in() -> None:
    shared = new_state(NOBODY)
    session = shared.sessions.create("t", "read")
    known = shared.connect("t")
    assert shared.connect("t") is known
    shared.connect("other")
    shared.sign_out(session)
    assert shared._upstreams.keys() == {"other"}
    assert shared.connect("t") is not known
    assert shared._upstreams.keys() == {"t"}, "nobody is signed in with the other one"
