"""Makes a Redis Cluster of instances that run in cluster mode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cachemesh.core.errors import LocalStackError
from cachemesh.core.names import Address
from cachemesh.core.placement.keys import SLOT_COUNT
from cachemesh.local.binaries import find_redis_server
from cachemesh.local.ports import Ports
from cachemesh.local.probes import connect

_AGREED_WITHIN = 30.0  # seconds until all nodes must agree
_ports = Ports()


def configuration() -> list[str]:
    """Return the lines that a node's configuration file has beside those of every instance."""
    lines = ["cluster-enabled yes"]
    if find_redis_server().version >= (7,):
        lines.append(f"cluster-port {_ports.take()}")  # else the port + 10000, free or not
    return lines


def form(nodes: Sequence[Address]) -> None:
    """Give each node an equal part of the slots, join the nodes, and wait until they agree.

    Raises:
        LocalStackError: they do not agree in time.
    """
    clients: list[Any] = [connect(node) for node in nodes]  # untyped in redis-py
    try:
        for number, client in enumerate(clients):
            first, end = (SLOT_COUNT * at // len(nodes) for at in (number, number + 1))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
        for client in clients[1:]:
            client.execute_command("CLUSTER MEET", *nodes[0], *_bus_port(clients[0]))
        deadline = time.monotonic() + _AGREED_WITHIN
        while not all(_agrees(client, len(nodes)) for client in clients):
            if time.monotonic() > deadline:
                raise LocalStackError(f"the Redis Cluster is not whole after {_AGREED_WITHIN:g} s")
            time.sleep(0.02)
    finally:
        for client in clients:
            client.close()


def _bus_port(client: Any) -> list[int]:
    """Return the last argument of CLUSTER MEET: the bus port, if it is not the port + 10000."""
    found = client.config_get("cluster-port").get("cluster-port")
    return [int(found)] if found else []


def _agrees(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_size"]) == nodes)
