"""The view of /v1/pools/POOL/resize."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.service import resizing

blueprint = Blueprint("resizes", __name__)


@operation(blueprint, "giveUpResize")
def give_up_resize(call: Call) -> Response:
    """Give up the resize under way."""
    done = resizing.give_up(
        call.backend.context, call.actor, call.pool, dry_run=call.query["dry_run"]
    )
    note_outcome(dry_run=done.dry_run)
    return json_reply(done.to_dict())
