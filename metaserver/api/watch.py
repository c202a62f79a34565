"""The views that wait for changes: the watch of clients, and the event stream; the audit log."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.quality.report import ShardQuality, checked_report
from metaserver.api.backend import Backend
from metaserver.api.request import Call, empty_reply, json_reply, operation, raw_reply
from metaserver.domain.audit_log import EventFilter
from metaserver.domain.errors import RequestRefused
from metaserver.service.ahead import raise_above
from metaserver.service.history import seconds_of
from metaserver.watch.change_hub import PublishedDocument, StreamItem
from metaserver.watch.client_table import ClientProcess

PUBLISHED_WITHIN = 1.0  # seconds; a store that takes longer cannot be changed either
_EVENT_FILTERS = ("shard", "action", "since", "text")
IDLE = 15.0  # seconds of silence before a comment keeps a stream alive

blueprint = Blueprint("watch", __name__)


@operation(blueprint, "watchPool")
def watch_pool(call: Call) -> Response:
    """Reply once there is a newer version of the pool, or after the wait of the request.

    Most watch calls never come here: see `metaserver.api.direct_watch`.
    """
    backend, pool, token, body = call.backend, call.pool, call.token, call.body
    client, version = body["client"], body["version"]
    ahead = version > backend.hub.current(pool).version  # an unknown pool gets no clients
    if ahead:
        ahead = raise_above(backend.context, pool, version, client) != version
    applied = 0 if ahead else version
    new = watch_began(backend, pool, token, request.remote_addr or "", body, applied)
    try:
        if new:  # other processes know of the client before it is given a document
            backend.clients.wait_published(PUBLISHED_WITHIN)
        newer = backend.hub.wait_newer(pool, version, watch_seconds(body))
    finally:
        backend.clients.watch_ended(pool, client, token=token)
    return raw_reply(watch_reply(backend, newer))


def watch_began(
    backend: Backend,
    pool: str,
    token: str,
    address: str,
    body: Mapping[str, Any],
    applied: int,
) -> bool:
    """Record what the body of a watch call tells; return whether the client is new.

    Args:
        token: its id.
        address: the client's IP address.
        applied: the version that the client acknowledges.

    Raises:
        RequestRefused: there is no room for another client, or its report of quality is none.
    """
    report = _checked_report(body.get("quality"))
    new = backend.clients.watch_began(
        pool,
        body["client"],
        applied,
        address,
        body.get("stats"),
        token=token,
        process=ClientProcess(*map(body.get, ("sdk", "host", "process", "app", "settings"))),
    )
    document = backend.hub.known(pool)
    if document is not None and (report or watch_seconds(body) > 0):
        backend.quality.add(pool, body["client"], report, document.shards)
    backend.resize_bells.acknowledged.ring()
    return new


def _checked_report(found: object) -> Mapping[str, ShardQuality]:
    try:
        return {} if found is None else checked_report(found)
    except ValueError:
        found = _with_integers(found)
    try:
        return checked_report(found)
    except ValueError as error:
        raise RequestRefused(
            "bad-request",
            f"quality: {error}",
            "correct the request; /openapi.json describes it",
            field="quality",
        ) from error


def _with_integers(found: object) -> object:
    """Return a report with an int in place of each float that is one: for JSON, 1.0 is 1."""
    if isinstance(found, dict):
        return {name: _with_integers(each) for name, each in found.items()}
    return int(found) if isinstance(found, float) and found.is_integer() else found


def watch_seconds(body: Mapping[str, Any]) -> float:
    """Return for how many seconds a watch call is to be held."""
    return float(body.get("wait", 25))


def watch_reply(backend: Backend, newer: PublishedDocument | None) -> str:
    """Return the reply to a watch call, the same for all clients of the pool."""
    changed = "false" if newer is None else "true"
    document = "null" if newer is None else newer.text
    lease = backend.clients.lease
    return f'{{"changed": {changed}, "document": {document}, "lease": {lease}}}'


@operation(blueprint, "leavePool")
def leave_pool(call: Call) -> Response:
    """Record that a client no longer follows the pool."""
    call.backend.hub.current(call.pool)
    call.backend.clients.leave(call.pool, call.path["client"], token=call.token)
    call.backend.quality.add(call.pool, call.path["client"], {}, ())
    return empty_reply()


@operation(blueprint, "listEvents")
def list_events(call: Call) -> Response:
    """List entries of the audit log."""
    pool, limit = call.query.get("pool"), call.query["limit"]
    between = {"after": call.query["after"], "before": call.query.get("before")}
    only = call.bearer.pools if call.bearer is not None and pool is None else None
    wanted = EventFilter(**{name: call.query.get(name) for name in _EVENT_FILTERS})
    if wanted.since is not None:
        seconds_of(wanted.since)  # refuses a day that no calendar has
    events = [
        event
        for name in ([pool] if only is None else only)
        for event in call.backend.store.events(name, **between, limit=limit, only=wanted)
    ]
    events.sort(key=lambda event: event.id, reverse=True)
    return json_reply({"events": [event.to_dict() for event in events[:limit]]})


@operation(blueprint, "stream")
def stream(call: Call) -> Response:
    """Reply with documents, statuses and events as server-sent events, the current ones first."""
    pool = call.query.get("pool")
    if pool is not None:
        call.backend.hub.current(pool)
    reply = Response(_lines(call, pool), content_type="text/event-stream")
    reply.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return reply


def _lines(call: Call, pool: str | None) -> Iterator[str]:
    """Yield the lines of an event stream, of those pools that the token covers.

    The stream ends when the process stops, when the reader lags too far, or soon after the token
    was revoked or has ended.
    """
    backend, token = call.backend, call.bearer
    with backend.hub.stream(pool) as items:
        yield ": welcome\n\n"  # the headers go out with the first line
        for item in _now(backend, pool):
            if call.covers(item.pool):
                yield _line(item)
        checked = time.monotonic()
        for news in items.items(IDLE):
            seen = news is not None and call.covers(news.pool)
            if time.monotonic() - checked >= IDLE:
                if token is None or not backend.tokens.still_good(token):
                    return
                checked = time.monotonic()
                if not seen:
                    yield ": still here\n\n"
            if news is not None and seen:
                yield _line(news)


def _now(backend: Backend, pool: str | None) -> Iterator[StreamItem]:
    names = [pool] if pool is not None else list(backend.store.versions())
    for name in names:
        try:
            document, status = backend.hub.current(name).text, backend.monitor.status(name)
        except (RequestRefused, PoolNotFoundError):
            continue  # the pool was just deleted; the stream will tell
        yield StreamItem("document", name, document)
        yield StreamItem("status", name, json.dumps(status))


def _line(item: StreamItem) -> str:
    return f"event: {item.name}\ndata: {item.data}\n\n"
