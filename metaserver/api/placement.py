"""The view of /v1/pools/POOL/placement."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, operation
from metaserver.api.request_outcome import change_reply
from metaserver.api.shards import how_of
from metaserver.service.placement import set_placement

blueprint = Blueprint("placement", __name__)


@operation(blueprint, "setPlacement")
def set_placement_of(call: Call) -> Response:
    """Deal the keys of a pool to its shards anew."""
    fields = call.body.get("placement")
    labels = {} if fields is None else fields.get("labels", {})
    if fields is not None:
        fields = {name: value for name, value in fields.items() if name != "labels"}
    change = set_placement(
        call.backend.context,
        call.actor,
        call.pool,
        fields,
        labels,
        how=how_of(call.body),
        version=call.body.get("version"),
        dry_run=call.body.get("dry_run", False),
    )
    return change_reply(change)
