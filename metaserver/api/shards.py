"""The views of /v1/pools/POOL/shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from cachemesh.core.placement import Shard
from metaserver.api.contract.schema_parts import HOW
from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import change_reply, note_outcome
from metaserver.domain.errors import shard_not_found
from metaserver.redis_io.key_sampler import Sampling
from metaserver.redis_io.open_connections import NONE, OpenConnections, ask_connections
from metaserver.redis_io.slow_log import ask_slow_logs
from metaserver.service import shards
from metaserver.service.failover import TIMEOUT, FailoverRequest, fail_over
from metaserver.service.shards import How, NewShard

blueprint = Blueprint("shards", __name__)


def how_of(given: Mapping[str, Any]) -> How:
    """Return what a request says is to become of keys that change their shard."""
    usual = Sampling()
    sampling = Sampling(given.get("sample", usual.keys), given.get("big_key", usual.big_key))
    return How(**{name: given[name] for name in HOW if name in given}, sampling=sampling)


@operation(blueprint, "listShards")
def list_shards(call: Call) -> Response:
    """List the shards with their live status."""
    return json_reply({"shards": call.backend.monitor.status(call.pool)["shards"]})


@operation(blueprint, "getShard")
def get_shard(call: Call) -> Response:
    """Reply with the live status of one shard."""
    return json_reply(_status(call))


def _status(call: Call) -> dict[str, Any]:
    """Return the live status of the shard that is asked for.

    Raises:
        RequestRefused: shard-not-found.
    """
    for shard in call.backend.monitor.status(call.pool)["shards"]:
        if shard["name"] == call.shard:
            found: dict[str, Any] = shard
            return found
    raise shard_not_found(call.pool, call.shard)


@operation(blueprint, "getSlowLog")
def get_slow_log(call: Call) -> Response:
    """Reply with the commands that took longest of late, on each instance of a shard."""
    shard = _status(call)
    roles = {each["address"]: "replica" for each in shard["replicas"]}
    if shard["master"]["address"] is not None:
        roles[shard["master"]["address"]] = "master"
    context = call.backend.context
    told = ask_slow_logs(roles, call.query["limit"], context.config, context.networks)
    return json_reply(
        {
            "instances": [
                {
                    "instance": address,
                    "role": roles[address],
                    "error": answer if isinstance(answer, str) else None,
                    "commands": []
                    if isinstance(answer, str)
                    else [each.to_dict() for each in answer],
                }
                for address, answer in told.items()
            ]
        }
    )


@operation(blueprint, "getConnections")
def get_connections(call: Call) -> Response:
    """Reply with the connections of a shard's master, by app."""
    master = _status(call)["master"]
    told: OpenConnections | str = str(master["error"])
    if master["address"] is not None:
        context = call.backend.context
        told = ask_connections(
            master["address"], call.query["limit"], context.config, context.networks
        )
    error = told if isinstance(told, str) else None
    found = NONE if isinstance(told, str) else told
    return json_reply({"instance": master["address"], "error": error, **found.to_dict()})


@operation(blueprint, "addShard")
def add_shard(call: Call) -> Response:
    """Add a shard."""
    body = call.body
    change = shards.add(
        call.backend.context,
        call.actor,
        call.pool,
        NewShard(
            Shard(body["name"], body.get("weight", 1)),
            body["master"],
            body.get("allow_nonempty", False),
        ),
        how=how_of(body),
        version=body.get("version"),
        dry_run=body.get("dry_run", False),
    )
    return change_reply(change, 201)


@operation(blueprint, "setWeight")
def set_weight(call: Call) -> Response:
    """Set the weight of a shard."""
    change = shards.set_weight(
        call.backend.context,
        call.actor,
        call.pool,
        call.shard,
        call.body["weight"],
        how=how_of(call.body),
        version=call.body.get("version"),
        dry_run=call.body.get("dry_run", False),
    )
    return change_reply(change)


@operation(blueprint, "removeShard")
def remove_shard(call: Call) -> Response:
    """Remove a shard."""
    change = shards.remove(
        call.backend.context,
        call.actor,
        call.pool,
        call.shard,
        how=how_of(call.query),
        version=call.query.get("version"),
        dry_run=call.query["dry_run"],
    )
    return change_reply(change)


@operation(blueprint, "failOver")
def fail_over_shard(call: Call) -> Response:
    """Have a replica take over from the master, without losing a write."""
    body = call.body
    request = FailoverRequest(
        body.get("to"),
        body.get("timeout", TIMEOUT),
        body.get("hurry", False),
        body.get("dry_run", False),
    )
    report = fail_over(call.backend.context, call.actor, call.pool, call.shard, request)
    note_outcome(dry_run=report.dry_run)
    return json_reply(report.to_dict())
