"""The outcome of a request, for the metrics. A view that changes something notes it."""

from __future__ import annotations

from flask import Response, g

from metaserver.api.contract import BY_ID
from metaserver.api.metrics import RequestOutcome
from metaserver.api.request import json_reply
from metaserver.service.change import PoolChange


def note_outcome(*, dry_run: bool, changed: bool = True) -> None:
    """Note the outcome of the request in progress."""
    g.outcome = "planned" if dry_run else "changed" if changed else "unchanged"


def change_reply(change: PoolChange, done: int = 200) -> Response:
    """Return the reply to a change: status `done`; 202 for a resize that goes on; 200 if dry."""
    note_outcome(dry_run=change.dry_run, changed=change.version_after != change.version_before)
    status = 202 if change.resize is not None else done
    return json_reply(change.to_dict(), 200 if change.dry_run else status)


def outcome_of(operation: str) -> RequestOutcome:
    """Return the noted outcome; without one, "changed" for an admin's operation that is no GET."""
    noted: RequestOutcome | None = g.get("outcome")
    described = BY_ID.get(operation)
    if noted is not None or described is None:
        return noted or "read"
    changes = described.access == "admin" and described.method != "GET"
    return "changed" if changes else "read"
