"""Is it alive, is it ready, how is it doing, what can it do."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from metaserver.api.contract import openapi
from metaserver.api.metrics import Measurement, render
from metaserver.api.request import Call, json_reply, operation, raw_reply
from metaserver.runtime import Runtime

blueprint = Blueprint("probes", __name__)


@operation(blueprint, "livez")
def livez(_call: Call) -> Response:
    """The process answers."""
    return json_reply({"status": "ok"})


@operation(blueprint, "readyz")
def readyz(call: Call) -> Response:
    """The store can be read and written."""
    call.runtime.store.check_writable()
    return json_reply({"status": "ok"})


@operation(blueprint, "openapi")
def describe(_call: Call) -> Response:
    """The contract."""
    return json_reply(openapi())


@operation(blueprint, "metrics")
def metrics(call: Call) -> Response:
    """Everything in `metaserver.api.metrics.METRICS`."""
    runtime = call.runtime
    found = [
        Measurement("cachemesh_metaserver_leader", runtime.leader.is_leader, {}),
        Measurement("cachemesh_metaserver_watches", runtime.hub.waiting, {}),
        *runtime.counters.measurements(),
        *_pools(runtime),
    ]
    return raw_reply(render(found), media="text/plain; version=0.0.4; charset=utf-8")


def _pools(runtime: Runtime) -> Iterator[Measurement]:
    for document, status in runtime.pools():
        pool = document.pool
        labels = {"pool": pool}
        yield Measurement("cachemesh_pool_version", document.version, labels)
        yield Measurement("cachemesh_pool_shards", len(document.placement.shards), labels)
        yield Measurement("cachemesh_pool_clients", runtime.clients.count(pool), labels)
        yield Measurement("cachemesh_pool_sweeps", len(runtime.store.sweeps(pool)), labels)
        for shard in status["shards"]:
            labels = {"pool": pool, "shard": shard["name"]}
            yield Measurement("cachemesh_shard_up", shard["state"] != "down", labels)
            keys = (shard["master"] or {}).get("keys")
            if keys is not None:
                yield Measurement("cachemesh_shard_keys", keys, labels)
