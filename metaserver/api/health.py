"""Probes, metrics, and the contract."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict

from flask import Blueprint, Response

from metaserver.api.backend import Backend
from metaserver.api.contract import openapi
from metaserver.api.instance_metrics import of_instances
from metaserver.api.metrics import Measurement, histogram, render
from metaserver.api.pool_metrics import of_document, of_sdks, of_sweeps
from metaserver.api.request import Call, json_reply, operation, raw_reply
from metaserver.api.resize_metrics import of_resize
from metaserver.api.webhook_metrics import of_webhooks
from metaserver.domain.errors import RequestRefused
from metaserver.domain.resize_status import status_of

blueprint = Blueprint("health", __name__)


@operation(blueprint, "livez")
def livez(_call: Call) -> Response:
    """Reply that the process is alive."""
    return json_reply({"status": "ok"})


@operation(blueprint, "readyz")
def readyz(call: Call) -> Response:
    """Reply whether the store can be read and written, and the process does not stop."""
    if call.backend.context.stopping.is_set():
        raise RequestRefused("stopping", "This process stops", "use another metaserver")
    call.backend.store.check_writable()
    return json_reply({"status": "ok"})


@operation(blueprint, "leader")
def leader(call: Call) -> Response:
    """Reply whether this process leads."""
    term = call.backend.own_term()
    return json_reply({"status": "ok", "epoch": term.epoch, "since": term.since})


@operation(blueprint, "listMetaservers")
def list_metaservers(call: Call) -> Response:
    """List the processes, and which of them leads."""
    backend = call.backend
    leader = backend.election.leader()
    found = [
        {
            **asdict(each),
            "leads": leader is not None and each.owner == leader.owner,
            "self": each.owner == backend.context.owner,
        }
        for each in backend.store.metaservers()
    ]
    return json_reply({"metaservers": found, "leader": None if leader is None else asdict(leader)})


@operation(blueprint, "openapi")
def describe(_call: Call) -> Response:
    """Reply with the OpenAPI document."""
    return json_reply(openapi())


@operation(blueprint, "metrics")
def metrics(call: Call) -> Response:
    """Reply with everything in `metaserver.api.metrics.METRICS`."""
    backend = call.backend
    found = [
        Measurement("cachemesh_metaserver_leader", backend.leads, {}),
        Measurement("cachemesh_metaserver_watches", backend.hub.waiting, {}),
        *backend.counters.measurements(),
        *(of_webhooks(backend.webhooks) if call.covers(None) else ()),
        *_pools(call),
    ]
    return raw_reply(render(found), media="text/plain; version=0.0.4; charset=utf-8")


def _felt(backend: Backend, pool: str, shards: Collection[str]) -> Iterator[Measurement]:
    for shard, felt in sorted(backend.quality.totals(pool, shards).items()):
        labels = {"pool": pool, "shard": shard}
        yield Measurement("cachemesh_apps_calls_total", felt.calls, labels)
        for kind, count in sorted(felt.errors.items()):
            yield Measurement("cachemesh_apps_errors_total", count, {**labels, "class": kind})
        yield from histogram("cachemesh_apps_latency_seconds", felt.latency, labels)


def _pools(call: Call) -> Iterator[Measurement]:
    """Yield what is known of each pool that the token covers; no instance is asked for it.

    What instances and Sentinels say is what the monitor has read, on the process that leads alone:
    metrics of several processes can then be summed up.
    """
    backend = call.backend
    for document in backend.store.documents():
        pool = document.pool
        state = backend.store.state(pool) if call.covers(pool) else None
        if state is None:
            continue
        yield from of_document(document)
        yield Measurement("cachemesh_pool_clients", backend.clients.count(pool), {"pool": pool})
        yield from of_sdks(pool, (each.sdk for each in backend.clients.live(pool)))
        yield from of_sweeps(pool, state.sweeps)
        yield from of_resize(pool, status_of(state))
        yield from _felt(backend, pool, document.placement.names)
        observed = backend.monitor.observed(pool)
        if observed is not None:
            yield from of_instances(*observed)
