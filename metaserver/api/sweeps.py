"""/v1/pools/POOL/sweeps."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import came_to
from metaserver.service import sweeps

blueprint = Blueprint("sweeps", __name__)


@operation(blueprint, "forgetSweep")
def forget_sweep(call: Call) -> Response:
    """No more waiting for a drained shard."""
    done = sweeps.forget(
        call.runtime.control, call.actor, call.pool, call.shard, dry_run=call.query["dry_run"]
    )
    came_to(dry_run=done.dry_run)
    return json_reply(done.to_dict())
