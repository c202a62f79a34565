"""The views of /v1/pools/POOL/pause."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.service import pausing
from metaserver.service.pausing import PauseChange

blueprint = Blueprint("pauses", __name__)


@operation(blueprint, "pausePool")
def pause_pool(call: Call) -> Response:
    """Have the metaserver do nothing on a pool by itself."""
    reason = call.body.get("reason", "").strip()
    dry_run = call.body.get("dry_run", False)
    return _reply(
        pausing.pause(call.backend.context, call.actor, call.pool, reason, dry_run=dry_run)
    )


@operation(blueprint, "resumePool")
def resume_pool(call: Call) -> Response:
    """End the pause of a pool."""
    dry_run = call.query["dry_run"]
    return _reply(pausing.resume(call.backend.context, call.actor, call.pool, dry_run=dry_run))


def _reply(change: PauseChange) -> Response:
    note_outcome(dry_run=change.dry_run)
    return json_reply(change.to_dict())
