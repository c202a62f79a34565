"""The views of /v1/pools/POOL/resize."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.contract.schema_parts import PACE
from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.service import lost_shards, resizing

blueprint = Blueprint("resizes", __name__)


@operation(blueprint, "giveUpResize")
def give_up_resize(call: Call) -> Response:
    """Give up the resize under way."""
    done = resizing.give_up(
        call.backend.context, call.actor, call.pool, dry_run=call.query["dry_run"]
    )
    note_outcome(dry_run=done.dry_run)
    return json_reply(done.to_dict())


@operation(blueprint, "setPace")
def set_pace(call: Call) -> Response:
    """Pause or resume the move of keys under way, or bound its speed."""
    pace = {name: call.body[name] for name in ("paused", *PACE) if name in call.body}
    done = resizing.set_pace(
        call.backend.context, call.actor, call.pool, pace, dry_run=call.body.get("dry_run", False)
    )
    note_outcome(dry_run=done.dry_run)
    return json_reply(done.to_dict())


@operation(blueprint, "markLost")
def mark_lost(call: Call) -> Response:
    """Go on with the resize under way without the data of a shard."""
    done = lost_shards.mark_lost(
        call.backend.context,
        call.actor,
        call.pool,
        call.body["shard"],
        dry_run=call.body.get("dry_run", False),
    )
    note_outcome(dry_run=done.dry_run)
    return json_reply(done.to_dict())
