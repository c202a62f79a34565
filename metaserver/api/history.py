"""The view of /v1/pools/POOL/history."""

from __future__ import annotations

import time

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.service.history import pool_history, seconds_of

blueprint = Blueprint("history", __name__)


@operation(blueprint, "getHistory")
def get_history(call: Call) -> Response:
    """Reply with the figures of a pool or a shard of the last day, which the leader has."""
    backend, query = call.backend, call.query
    document = backend.hub.current(call.pool)
    backend.own_term()
    since = query.get("since")
    return json_reply(
        pool_history(
            backend.history,
            call.pool,
            query.get("shard"),
            document.shards,
            now=time.time(),
            since=None if since is None else seconds_of(since),
            step=query.get("step"),
        )
    )
