"""The views of /v1/pools/POOL/sweeps."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.service import sweeps

blueprint = Blueprint("sweeps", __name__)


@operation(blueprint, "forgetSweep")
def forget_sweep(call: Call) -> Response:
    """Give up the sweep of a drained shard."""
    done = sweeps.forget(
        call.backend.context, call.actor, call.pool, call.shard, dry_run=call.query["dry_run"]
    )
    note_outcome(dry_run=done.dry_run)
    return json_reply(done.to_dict())
