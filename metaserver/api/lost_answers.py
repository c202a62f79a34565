"""Answers to changes that were made, but whose answer is gone: made up of what the store knows."""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from metaserver.api.contract import Operation
from metaserver.domain.audit_log import Event
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_pause import told_pause
from metaserver.store import RecordedCall, Store

_TOLD_LATE = "the change was made before; the process that made it ended before it had answered"


def lost_answer(store: Store, operation: Operation, call: RecordedCall) -> Response:
    """Return the answer to a call that has made its change.

    Raises:
        RequestRefused: answer-lost: the answer had more than can be told; failover-failed: the
            failover was undone.
    """
    event = call.event
    headers = {"Cache-Control": "no-store", "Idempotency-Replayed": "true"}
    if operation.status == 204:
        reply = Response(status=204, headers=headers)
        del reply.headers["Content-Type"]
        return reply
    if event is None or event.pool is None or operation.reply not in _ANSWERS:
        raise RequestRefused(
            "answer-lost",
            f"{_TOLD_LATE}: {event.detail if event else operation.summary}",
            "look at what is there now; revoke a token whose text nobody has",
            event=None if event is None else event.to_dict(),
        )
    if event.action == "shard.failover-undone":
        raise RequestRefused("failover-failed", event.detail, "try again", undone=True)
    body = _ANSWERS[operation.reply](store, event, call.version)
    return Response(json.dumps(body), operation.status, headers, content_type="application/json")


def _change(store: Store, event: Event, version: int | None) -> dict[str, Any]:
    document = store.document(event.pool or "")
    after = version or 1
    return {
        "dry_run": False,
        "pool": event.pool,
        "version_before": after - 1,
        "version_after": after,
        "summary": event.detail,
        "steps": [_TOLD_LATE],
        "moves": [],
        "moved_slots": 0,
        "moved_share": 0,
        "keys_moved": None,
        "destroys": [],
        "warnings": [_TOLD_LATE],
        "document": None if document is None else document.to_dict(),
    }


def _failover(_store: Store, event: Event, _version: int | None) -> dict[str, Any]:
    after = dict(event.after or {})
    return {
        "dry_run": False,
        "pool": event.pool,
        "shard": event.target,
        "summary": event.detail,
        "master_before": (event.before or {}).get("master"),
        "master_after": after.pop("master", None),
        "lag_bytes": None,
        "candidates": [],
        "steps": [_TOLD_LATE],
        "warnings": [_TOLD_LATE],
        "timings": after,
    }


def _forgotten(_store: Store, event: Event, _version: int | None) -> dict[str, Any]:
    return {
        "dry_run": False,
        "pool": event.pool,
        "shard": event.target,
        "summary": event.detail,
        "steps": [_TOLD_LATE],
        "warnings": [_TOLD_LATE],
    }


def _pause_change(store: Store, event: Event, _version: int | None) -> dict[str, Any]:
    document = store.document(event.pool or "")
    verb = "pause" if event.action == "pool.paused" else "resume"
    return {
        "dry_run": False,
        "pool": event.pool,
        "summary": f"{verb} pool {event.pool}",
        "steps": [_TOLD_LATE],
        "warnings": [_TOLD_LATE],
        "pause": None if document is None else told_pause(document),
    }


def _resize_change(_store: Store, event: Event, _version: int | None) -> dict[str, Any]:
    return {
        "dry_run": False,
        "pool": event.pool,
        "summary": event.detail,
        "steps": [_TOLD_LATE],
        "warnings": [_TOLD_LATE],
    }


_ANSWERS = {
    "Change": _change,
    "Failover": _failover,
    "Forgotten": _forgotten,
    "PauseChange": _pause_change,
    "ResizeChange": _resize_change,
}
