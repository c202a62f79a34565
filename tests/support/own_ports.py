"""The ports of one of several pytest processes that run side by side."""

from __future__ import annotations

from collections.abc import Mapping


def own_ports(environ: Mapping[str, str], ports: range) -> str:
    """Return the part of the ports that is for this process alone, as CACHEMESH_PORTS takes it.

    Args:
        environ: what pytest-xdist tells its processes.
    """
    number = int(environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    count = int(environ["PYTEST_XDIST_WORKER_COUNT"])
    each = len(ports) // count
    return f"{ports[number * each]}-{ports[(number + 1) * each - 1]}" if each else ""
