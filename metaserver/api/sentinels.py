"""The views that change which Sentinels a pool has, of /v1/pools/POOL/sentinels."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, operation
from metaserver.api.request_outcome import change_reply
from metaserver.service import sentinels

blueprint = Blueprint("sentinels", __name__)


@operation(blueprint, "addSentinel")
def add_sentinel(call: Call) -> Response:
    """Add a Sentinel."""
    change = sentinels.add(
        call.backend.context,
        call.actor,
        call.pool,
        call.body["sentinel"],
        version=call.body.get("version"),
        dry_run=call.body.get("dry_run", False),
    )
    return change_reply(change, 201)


@operation(blueprint, "removeSentinel")
def remove_sentinel(call: Call) -> Response:
    """Remove a Sentinel."""
    change = sentinels.remove(
        call.backend.context,
        call.actor,
        call.pool,
        call.path["sentinel"],
        force=call.query["force"],
        version=call.query.get("version"),
        dry_run=call.query["dry_run"],
    )
    return change_reply(change)
