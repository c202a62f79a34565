"""Which cores run what.

Left to the kernel, a client and its server share a core in one run and wake each other across
cores in the next: on two cores the same GET takes 16 us or 53 us, for a whole run, so that rounds
in turn do not even it out. The client therefore has a core of its own, the servers have the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """``client`` and ``servers`` are core numbers; both empty where nothing can be pinned."""

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
    """Who runs where, among the cores this process may use.

    Args:
        layout: ``apart``: the client has a core of its own; ``shared``: all on one core, so that
            nobody is woken across cores; ``any``: as the kernel likes. Without Linux, or with one
            core, it is ``any``.
    """
    if layout == "any" or not hasattr(os, "sched_getaffinity"):
        return Cores((), ())
    first, *rest = sorted(os.sched_getaffinity(0))
    if layout == "shared":
        return Cores((first,), (first,))
    return Cores((first,), tuple(rest)) if rest else Cores((), ())


@contextmanager
def running_on(cores: tuple[int, ...]) -> Iterator[None]:
    """This thread, and what it starts meanwhile, on these cores only; on any if there are none."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
