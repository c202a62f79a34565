"""The views of /v1/pools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from flask import Blueprint, Response

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import Shard
from metaserver.api.request import Call, json_reply, operation, raw_reply
from metaserver.api.request_outcome import change_reply
from metaserver.domain.client_reports import KnownClient
from metaserver.domain.sentinel_answers import sentinel_answers
from metaserver.process.clock import rfc3339
from metaserver.process.turns import let_others_run
from metaserver.service import pools
from metaserver.service.diagnosis import diagnose_pool
from metaserver.service.pools import NewPool
from metaserver.watch.client_table import shown

blueprint = Blueprint("pools", __name__)

_AT_ONCE = 100  # clients

PLACEMENT_FIELDS = ("strategy", "hash", "hash_tag", "named")


@operation(blueprint, "listPools")
def list_pools(call: Call) -> Response:
    """List the pools, with their health."""
    found = [
        {
            "pool": document.pool,
            "version": document.version,
            "strategy": document.placement.strategy,
            "shards": len(document.placement.shards),
            "health": status["health"],
        }
        for document, status in call.backend.pools()
        if call.covers(document.pool)
    ]
    return json_reply({"pools": found})


@operation(blueprint, "createPool")
def create_pool(call: Call) -> Response:
    """Create a pool."""
    body = call.body
    shards = body["shards"]
    masters = {shard["name"]: shard["master"] for shard in shards}
    if len(masters) < len(shards):
        raise InvalidDocumentError("shards: a name is given twice; give each shard its own name")
    new = NewPool(
        pool=body["pool"],
        sentinels=body["sentinels"],
        shards=[Shard(shard["name"], shard.get("weight", 1)) for shard in shards],
        masters=masters,
        quorum=body.get("quorum"),
        settings=body.get("settings", {}),
        allow_nonempty=body.get("allow_nonempty", False),
        placement={name: body[name] for name in PLACEMENT_FIELDS if name in body},
        labels={shard["name"]: shard["label"] for shard in shards if "label" in shard},
    )
    change = pools.create(call.backend.context, call.actor, new, dry_run=body.get("dry_run", False))
    return change_reply(change, 201)


@operation(blueprint, "getPool")
def get_pool(call: Call) -> Response:
    """Reply with the pool document."""
    return raw_reply(call.backend.hub.current(call.pool).text)


@operation(blueprint, "deletePool")
def delete_pool(call: Call) -> Response:
    """Delete a pool."""
    change = pools.delete(
        call.backend.context,
        call.actor,
        call.pool,
        version=call.query.get("version"),
        dry_run=call.query["dry_run"],
    )
    return change_reply(change)


@operation(blueprint, "changeSettings")
def change_settings(call: Call) -> Response:
    """Change settings of a pool."""
    change = pools.change_settings(
        call.backend.context,
        call.actor,
        call.pool,
        call.body["settings"],
        version=call.body.get("version"),
        dry_run=call.body.get("dry_run", False),
    )
    return change_reply(change)


@operation(blueprint, "getStatus")
def get_status(call: Call) -> Response:
    """Reply with the live status of a pool."""
    return json_reply(call.backend.monitor.status(call.pool))


@operation(blueprint, "listSentinels")
def list_sentinels(call: Call) -> Response:
    """Reply with what each Sentinel says about each shard of a pool."""
    return json_reply(sentinel_answers(call.backend.monitor.latest(call.pool)))


@operation(blueprint, "getFindings")
def get_findings(call: Call) -> Response:
    """Reply with what is configured wrong in a pool."""
    return json_reply(diagnose_pool(call.backend.context, call.pool))


@operation(blueprint, "listClients")
def list_clients(call: Call) -> Response:
    """List the clients that watch the pool through any metaserver."""
    call.backend.hub.current(call.pool)
    live, metaservers = call.backend.clients.clients(call.pool)
    return raw_reply(_listed(live, metaservers))


def _listed(clients: list[KnownClient], metaservers: Mapping[str, str]) -> Iterator[str]:
    """Yield the reply piece by piece, as there may be thousands of clients and a slow reader."""
    yield '{"clients": ['
    for first in range(0, len(clients), _AT_ONCE):
        part = clients[first : first + _AT_ONCE]
        let_others_run()
        yield ("" if first == 0 else ", ") + json.dumps([shown(c, metaservers) for c in part])[1:-1]
    yield "]}"


@operation(blueprint, "getQuality")
def get_quality(call: Call) -> Response:
    """Reply with what the pool's apps feel, as the clients of all metaservers report it."""
    call.backend.hub.current(call.pool)
    shown = call.backend.quality.shown(call.pool, call.query["seconds"])
    shown["since"] = rfc3339(shown["since"])
    for minute in shown["minutes"]:
        minute["at"] = rfc3339(minute["at"])
    return json_reply(shown)


@operation(blueprint, "getConvergence")
def get_convergence(call: Call) -> Response:
    """Reply with how many clients of a pool act on which version, and which of them lag."""
    version = call.backend.hub.current(call.pool).version
    return json_reply(call.backend.clients.convergence(call.pool, version))
