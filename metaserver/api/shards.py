"""/v1/pools/POOL/shards."""

from __future__ import annotations

from flask import Blueprint, Response

from cachemesh.core.placement import Shard
from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import came_to, change_reply
from metaserver.domain.errors import shard_not_found
from metaserver.service import shards
from metaserver.service.failover import TIMEOUT, Wish, fail_over
from metaserver.service.shards import NewShard

blueprint = Blueprint("shards", __name__)


@operation(blueprint, "listShards")
def list_shards(call: Call) -> Response:
    """The live view of every shard."""
    return json_reply({"shards": call.runtime.monitor.status(call.pool)["shards"]})


@operation(blueprint, "getShard")
def get_shard(call: Call) -> Response:
    """The live view of one shard."""
    for shard in call.runtime.monitor.status(call.pool)["shards"]:
        if shard["name"] == call.shard:
            return json_reply(shard)
    raise shard_not_found(call.pool, call.shard)


@operation(blueprint, "addShard")
def add_shard(call: Call) -> Response:
    """One more shard."""
    body = call.body
    change = shards.add(
        call.runtime.control,
        call.actor,
        call.pool,
        NewShard(
            Shard(body["name"], body.get("weight", 1)),
            body["master"],
            body.get("allow_nonempty", False),
        ),
        version=body.get("version"),
        dry_run=body.get("dry_run", False),
    )
    return change_reply(change, 201)


@operation(blueprint, "setWeight")
def set_weight(call: Call) -> Response:
    """Another weight."""
    change = shards.set_weight(
        call.runtime.control,
        call.actor,
        call.pool,
        call.shard,
        call.body["weight"],
        version=call.body.get("version"),
        dry_run=call.body.get("dry_run", False),
    )
    return change_reply(change)


@operation(blueprint, "removeShard")
def remove_shard(call: Call) -> Response:
    """One shard less."""
    change = shards.remove(
        call.runtime.control,
        call.actor,
        call.pool,
        call.shard,
        version=call.query.get("version"),
        dry_run=call.query["dry_run"],
    )
    return change_reply(change)


@operation(blueprint, "failOver")
def fail_over_shard(call: Call) -> Response:
    """A replica takes over, and no write is lost."""
    body = call.body
    wish = Wish(
        body.get("to"),
        body.get("timeout", TIMEOUT),
        body.get("hurry", False),
        body.get("dry_run", False),
    )
    report = fail_over(call.runtime.control, call.actor, call.pool, call.shard, wish)
    came_to(dry_run=report.dry_run)
    return json_reply(report.to_dict())
