"""Connections that end together are one failure to the breaker of their instance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cachemesh import CacheMesh
from cachemesh.core.names import parse_address
from cachemesh.core.resilience.circuit_breaker import FAILURES
from cachemesh.local import Process
from tests.support.movable_pool import reset
from tests.support.relay import GatheringRelay
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST


def test_connections_that_end_together_open_nothing(redises: list[Process], tmp_path: Path) -> None:
    """Each attempt to connect fails, as when a fence ends all connections of a server at once."""
    threads = FAILURES + 1
    reset(redises[0])
    with (
        GatheringRelay(str(redises[0].address), b"ROLE", threads) as relay,
        ResizablePool(redises[:2], tmp_path) as pool,
        ThreadPoolExecutor(threads) as executor,
    ):
        pool.masters["cache-0"] = parse_address(relay.address)
        patient = {"connect_timeout": AT_MOST, "command_timeout": AT_MOST}
        with CacheMesh.from_url(pool.url, **patient) as mesh:
            came = [executor.submit(mesh.set, f"key:{n}", n) for n in range(threads)]
            assert [each.result(AT_MOST) for each in came] == [True] * threads
            assert relay.gathered.is_set()
            assert mesh.health()["cache-0"].breaker == "closed"
