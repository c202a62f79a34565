"""What a request came to, for the metrics: a view that changes something says so."""

from __future__ import annotations

from flask import Response, g

from metaserver.api.contract import BY_ID
from metaserver.api.metrics import Outcome
from metaserver.api.request import json_reply
from metaserver.service.context import Change


def came_to(*, dry_run: bool, changed: bool = True) -> None:
    """Note what the request of this view came to."""
    g.outcome = "planned" if dry_run else "changed" if changed else "unchanged"


def change_reply(change: Change, made: int = 200) -> Response:
    """A change as a reply, with the status `made` unless it was a dry run."""
    came_to(dry_run=change.dry_run, changed=change.version_after != change.version_before)
    return json_reply(change.to_dict(), 200 if change.dry_run else made)


def outcome_of(operation: str) -> Outcome:
    """What was noted; without a note, a change for what takes an admin and is no GET."""
    noted: Outcome | None = g.get("outcome")
    described = BY_ID.get(operation)
    if noted is not None or described is None:
        return noted or "read"
    changes = described.access == "admin" and described.method != "GET"
    return "changed" if changes else "read"
