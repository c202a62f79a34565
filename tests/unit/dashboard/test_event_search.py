"""Which events are asked for, and what a page of them shows."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from dashboard.event_search import PAGE_SIZE, EventSearch, logged_events

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "at": "2026-01-31T11:59:00.000Z",
        "actor": "token:anna",
        "action": "shard.set-weight",
        "pool": "cache",
        "target": "cache-0",
        "detail": "weight 2",
        "before": {"weight": 1},
        "after": {"weight": 2},
    } | changes


def asked(**query: str) -> Any:
    return EventSearch.of(query).wanted(NOW)


def test_what_is_typed_is_asked_for_as_the_api_takes_it() -> None:
    assert asked() == {}
    assert asked(q=" no   answer ", shard="cache-0", action="shard", before="17") == {
        "text": "no answer",
        "shard": "cache-0",
        "action": "shard",
        "before": 17,
    }


@pytest.mark.parametrize(
    ("typed", "since"),
    [
        ("45m", "2026-01-31T11:15:00.000Z"),
        ("7d", "2026-01-24T12:00:00.000Z"),
        ("2026-01-30", "2026-01-30T00:00:00.000Z"),
        ("2026-01-30T10:00", "2026-01-30T10:00:00.000Z"),
        ("2026-01-30T10:00Z", "2026-01-30T10:00:00.000Z"),
        ("2026-01-30T10:00+02:00", "2026-01-30T08:00:00.000Z"),
    ],
)
def test_since_a_duration_or_a_time_in_utc(typed: str, since: str) -> None:
    assert asked(since=typed) == {"since": since}


@pytest.mark.parametrize(
    "typed", ["yesterday", "1w", "-1h", "999999999d", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_time_is_refused_with_how_to_write_one(typed: str) -> None:
    with pytest.raises(ValueError, match="is no time; write it like 45m"):
        asked(since=typed)


def test_a_link_to_an_event_asks_for_it_and_what_came_before_whatever_was_filtered() -> None:
    assert asked(event="17", q="x", since="yesterday") == {"before": 18}
    assert EventSearch.of({"event": "17", "q": "x"}).url() == "?event=17"


def test_a_url_brings_the_search_back() -> None:
    search = EventSearch("a b", "cache-0", "shard.down", "2h", 17)
    assert search.url() == "?q=a+b&shard=cache-0&action=shard.down&since=2h&before=17"
    read = {"q": "a b", "shard": "cache-0", "action": "shard.down", "since": "2h", "before": "17"}
    assert EventSearch.of(read) == search
    assert search.newest().url() == "?q=a+b&shard=cache-0&action=shard.down&since=2h"
    assert EventSearch.of({"before": "x", "event": "-1"}) == EventSearch()
    assert not EventSearch().filters


def test_a_page_goes_on_with_older_events_if_there_are_any() -> None:
    found = [event(number) for number in range(100, 100 - PAGE_SIZE - 1, -1)]
    search = EventSearch.of({"q": "x"})
    page = logged_events(search, found)
    assert len(page.events) == PAGE_SIZE
    assert page.older == EventSearch(text="x", before=51)
    assert logged_events(search, found[:-1]).older is None


def test_the_event_that_was_asked_for_is_told_in_full() -> None:
    page = logged_events(EventSearch(event=9), [event(9, before=None), event(8)])
    assert page.chosen is not None
    assert (page.chosen.id, page.before) == ("9", "")
    assert page.after == '{\n  "weight": 2\n}'
    assert [line.text for line in page.events] == ["set the weight of cache-0"] * 2
    assert not page.missing


def test_an_event_that_is_gone_is_missed() -> None:
    page = logged_events(EventSearch(event=9), [event(8)])
    assert (page.missing, page.chosen, page.after) == (True, None, "")
    assert logged_events(EventSearch(), []).missing is False
