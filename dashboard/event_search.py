"""Which events the page of a pool's events shows, as its URL asks.

    ?q=weight            this text in actor, action, target or detail
    &shard=cache-0       about this shard or a replica of it
    &action=shard.down   this action; "shard" stands for all of shards
    &since=2h            of the last two hours; or a day or a time in UTC: 2026-01-31T12:00
    &before=4711         older than this event: the next page
    ?event=4711          this event in full, and what came before it: a link that lasts

What the filters mean, the metaserver decides: see `GET /v1/events` of docs/api.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from cachemesh.discovery.metaserver_request import Query
from cachemesh.discovery.since_time import since_time
from dashboard.events import EventLine, event_line
from dashboard.listing import typed, whole_number
from dashboard.upstream import Json, OperatorProblem

PAGE_SIZE = 50


@dataclass(frozen=True)
class EventSearch:
    """What an operator has asked to see of the events.

    Attributes:
        text, shard, action, since: filters as they were typed, or "".
        before: the id above all that are shown; None: the newest are.
        event: the id of the one event that is asked for, or None. Then nothing is filtered.
    """

    text: str = ""
    shard: str = ""
    action: str = ""
    since: str = ""
    before: int | None = None
    event: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> EventSearch:
        """Read the search from a URL's query."""
        event = whole_number(query.get("event", ""))
        if event is not None:
            return cls(event=event)
        return cls(
            text=typed(query.get("q", "")),
            shard=typed(query.get("shard", "")),
            action=typed(query.get("action", "")),
            since=typed(query.get("since", "")),
            before=whole_number(query.get("before", "")) or None,
        )

    @property
    def filters(self) -> bool:
        """Whether some events may be left out."""
        return bool(self.text or self.shard or self.action or self.since)

    def url(self) -> str:
        """Return the query that asks for this search, from "?" on."""
        fields: dict[str, str | int | None] = {
            "q": self.text,
            "shard": self.shard,
            "action": self.action,
            "since": self.since,
            "before": self.before,
            "event": self.event,
        }
        asked = {name: value for name, value in fields.items() if value not in ("", None)}
        return "?" + urlencode(asked)

    def newest(self) -> EventSearch:
        """Return the same search from the newest event on."""
        return replace(self, before=None, event=None)

    def older(self, before: int) -> EventSearch:
        """Return the same search from the newest event on that is older than this one."""
        return replace(self, before=before, event=None)

    def wanted(self, now: datetime) -> Query:
        """Return the filters as the metaserver takes them.

        Args:
            now: the current time.

        Raises:
            ValueError: `since` is no time; says how to write one.
        """
        before = self.before if self.event is None else self.event + 1
        fields: dict[str, str | int] = {
            "text": self.text,
            "shard": self.shard,
            "action": self.action,
            "since": since_time(self.since, now) if self.since else "",
            "before": before or "",
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True)
class LoggedEvents:
    """A page of events.

    Attributes:
        search: that was asked for.
        events: newest first.
        chosen: the event that was asked for, or None.
        before, after: what the chosen event has changed, as JSON text; "" if nothing is told.
        older: the search that goes on with older ones, or None.
        missing: whether the event that was asked for is not there.
        problem: what is wrong with the search, or None.
        wrong: the name of the field that it is about, or "".
    """

    search: EventSearch
    events: tuple[EventLine, ...] = ()
    chosen: EventLine | None = None
    before: str = ""
    after: str = ""
    older: EventSearch | None = None
    missing: bool = False
    problem: OperatorProblem | None = None
    wrong: str = ""


def logged_events(search: EventSearch, found: Sequence[Json]) -> LoggedEvents:
    """Return a page of events.

    Args:
        found: what the metaserver tells, newest first: one more than a page has, if there are more.
    """
    shown = found[:PAGE_SIZE]
    chosen = next((each for each in shown if each["id"] == search.event), None)
    return LoggedEvents(
        search=search,
        events=tuple(map(event_line, shown)),
        chosen=None if chosen is None else event_line(chosen),
        before="" if chosen is None else _pretty(chosen.get("before")),
        after="" if chosen is None else _pretty(chosen.get("after")),
        older=search.older(int(shown[-1]["id"])) if len(found) > PAGE_SIZE else None,
        missing=search.event is not None and chosen is None,
    )


def _pretty(value: object) -> str:
    return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
