"""The demo under a load that leaves time to other tests."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

from cachemesh.demo.__main__ import main
from cachemesh.replay.workload import zipf

PACE = 0.005  # seconds between two accesses


def paced(objects: int, operations: int) -> Iterator[str]:
    """Yield what the demo draws, one access at a time."""
    never = threading.Event()
    for key in zipf(objects, operations):
        never.wait(PACE)
        yield key


if __name__ == "__main__":
    sys.exit(main(draw=paced))
