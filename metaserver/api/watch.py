"""Waiting for news: the watch of clients, the audit log, the event stream of browsers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import Blueprint, Response, request

from cachemesh.core.errors import PoolNotFoundError
from metaserver.api.request import Call, empty_reply, json_reply, operation, raw_reply
from metaserver.domain.errors import Problem
from metaserver.runtime import Runtime
from metaserver.watch.change_hub import Hub, Item

IDLE = 15.0  # seconds of silence before a comment keeps a stream alive

blueprint = Blueprint("watch", __name__)


@operation(blueprint, "watchPool")
def watch_pool(call: Call) -> Response:
    """Answer at once if there is a newer version; else hold the call until there is."""
    runtime, pool, token = call.runtime, call.pool, call.token
    client, version = call.body["client"], call.body["version"]
    runtime.hub.snapshot(pool)  # an unknown pool gets no table of clients
    address = request.remote_addr or ""
    runtime.clients.seen(pool, client, version, address, call.body.get("stats"), token=token)
    try:
        newer = runtime.hub.wait_newer(pool, version, float(call.body.get("wait", 25)))
    finally:
        runtime.clients.released(pool, client, token=token)
    changed = "false" if newer is None else "true"
    document = "null" if newer is None else newer.text
    lease = runtime.clients.lease
    return raw_reply(f'{{"changed": {changed}, "document": {document}, "lease": {lease}}}')


@operation(blueprint, "leavePool")
def leave_pool(call: Call) -> Response:
    """The client counts as live no more; nobody waits for it to acknowledge."""
    call.runtime.hub.snapshot(call.pool)
    call.runtime.clients.left(call.pool, call.path["client"], token=call.token)
    return empty_reply()


@operation(blueprint, "listEvents")
def list_events(call: Call) -> Response:
    """The audit log."""
    events = call.runtime.store.events(
        call.query.get("pool"), after=call.query["after"], limit=call.query["limit"]
    )
    return json_reply({"events": [event.to_dict() for event in events]})


@operation(blueprint, "stream")
def stream(call: Call) -> Response:
    """Documents, statuses and events as server-sent events; first what is true now."""
    pool = call.query.get("pool")
    if pool is not None:
        call.runtime.hub.snapshot(pool)
    reply = Response(_lines(call.runtime, pool, call.token), content_type="text/event-stream")
    reply.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return reply


def _lines(runtime: Runtime, pool: str | None, token_id: str) -> Iterator[str]:
    """Ends when the process stops, when the reader lags too far behind, or soon after the token
    was revoked."""
    with runtime.hub.stream(pool) as items:
        yield ": welcome\n\n"  # the headers go out with the first line
        for item in _now(runtime, runtime.hub, pool):
            yield _line(item)
        checked = time.monotonic()
        for news in items.items(IDLE):
            if time.monotonic() - checked >= IDLE:
                if all(token.id != token_id for token in runtime.store.tokens()):
                    return
                checked = time.monotonic()
            yield ": still here\n\n" if news is None else _line(news)


def _now(runtime: Runtime, hub: Hub, pool: str | None) -> Iterator[Item]:
    names = [pool] if pool is not None else list(runtime.store.versions())
    for name in names:
        try:
            document, status = hub.snapshot(name).text, runtime.monitor.status(name)
        except (Problem, PoolNotFoundError):
            continue  # deleted this very moment; the stream will say so
        yield Item("document", name, document)
        yield Item("status", name, json.dumps(status))


def _line(item: Item) -> str:
    return f"event: {item.name}\ndata: {item.data}\n\n"
