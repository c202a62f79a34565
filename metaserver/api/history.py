"""The view of /v1/pools/POOL/history."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.domain.errors import RequestRefused
from metaserver.service.history import pool_history, seconds_of

blueprint = Blueprint("history", __name__)


@operation(blueprint, "getHistory")
def get_history(call: Call) -> Response:
    """Reply with the figures of a pool or a shard of the last day, which the leader has."""
    backend, query = call.backend, call.query
    document = backend.hub.current(call.pool)
    backend.own_term()
    now = time.time()
    return json_reply(
        pool_history(
            backend.history,
            call.pool,
            query.get("shard"),
            document.shards,
            now=now,
            since=_since(query, now),
            step=query.get("step"),
        )
    )


def _since(query: Mapping[str, Any], now: float) -> float | None:
    """Return the time that is asked about, in seconds since the epoch; None: the usual one."""
    since, seconds = query.get("since"), query.get("seconds")
    if since is not None and seconds is not None:
        raise RequestRefused(
            "bad-request", "since and seconds are both given", "give one of them", field="seconds"
        )
    if seconds is not None:
        return now - float(seconds)
    return None if since is None else seconds_of(since)
