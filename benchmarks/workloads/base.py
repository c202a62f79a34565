"""The shape of a workload, and the data all of them read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.peers.base import Peer

OBJECTS = 1000
VALUE_BYTES = 100
KEYS = [f"object:{number}" for number in range(OBJECTS)]
ITEMS = {key: key.encode().ljust(VALUE_BYTES, b".") for key in KEYS}


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes:
        name: as the command line takes it.
        what: one line for the report.
        calls: calls of one round, at scale 1.
        run: makes that many calls on a peer, and nothing else.
        check: raises AssertionError if a peer answers wrongly; run once before measuring.
    """

    name: str
    what: str
    calls: int
    run: Callable[[Peer, int], None]
    check: Callable[[Peer], None]
