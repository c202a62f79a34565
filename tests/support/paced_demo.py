"""The demo, as `cachemesh_command.demo` runs it, under a load that leaves time to other tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from cachemesh.demo import __main__ as demo
from cachemesh.replay.workload import zipf
from cachemesh_command import run

PACE = 0.005  # seconds between two accesses


def paced(objects: int, operations: int) -> Iterator[str]:
    """Yield what the demo draws, one access at a time."""
    never = threading.Event()
    for key in zipf(objects, operations):
        never.wait(PACE)
        yield key


if __name__ == "__main__":
    setattr(demo, "zipf", paced)  # noqa: B010  # what it imports is no part of its interface
    run(demo.__name__)
