"""Pins the client and the servers to cores.

Without pinning, a client and its server share a core in one run and wake each other across cores
in the next. On two cores the same GET then takes three or four times as long, for a whole run, so
that turns within a run do not even this out. Therefore the client has a core of its own, and the
servers the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """The core numbers of the client and of the servers; both empty where nothing is pinned."""

    client: tuple[int, ...]
    servers: tuple[int, ...]

    @property
    def pinned(self) -> bool:
        return bool(self.client)

    def __str__(self) -> str:
        if not self.pinned:
            return "not pinned: figures of different peers may not compare"
        if self.client == self.servers:
            return f"client and servers on core {self.client[0]}"
        return f"client on core {self.client[0]}, servers on {', '.join(map(str, self.servers))}"


LAYOUTS = ("apart", "shared", "any")


def choose(layout: str = "apart") -> Cores:
    """Assign the cores that this process may use.

    Args:
        layout: ``apart``: the client has a core of its own; ``shared``: all run on one core, so
            that no process is woken across cores; ``any``: as the kernel decides. Without Linux,
            or with one core, the layout is ``any``.
    """
    if layout == "any" or not hasattr(os, "sched_getaffinity"):
        return Cores((), ())
    first, *rest = sorted(os.sched_getaffinity(0))
    if layout == "shared":
        return Cores((first,), (first,))
    return Cores((first,), tuple(rest)) if rest else Cores((), ())


@contextmanager
def running_on(cores: tuple[int, ...]) -> Iterator[None]:
    """Pin this thread, and what it starts in the block, to cores; to none if ``cores`` is empty."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
