"""A local stack whose metaservers are started with options of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cachemesh.local import LocalStack, Process
from tests.support.waiting import AT_MOST


@contextmanager
def resizable_stack(*options: str, metaservers: int = 1) -> Iterator[LocalStack]:
    """Start a pool of three shards whose metaservers have these options."""
    with LocalStack(
        shards=3,
        replicas=0,
        sentinels=1,
        metaservers=metaservers,
        dashboard=False,
        timeout=AT_MOST,
    ) as stack:
        for process in metaservers_of(stack):
            if options:
                process.argv += options
                process.restart(AT_MOST)
        yield stack


def metaservers_of(stack: LocalStack) -> list[Process]:
    """Return the processes of the metaservers."""
    return [process for process in stack.processes if process.kind == "metaserver"]


def url_of(stack: LocalStack, number: int = 0) -> str:
    """Return the URL of the pool, which begins with another metaserver for each number."""
    addresses = stack.info["metaservers"]
    first = number % len(addresses)
    return f"cachemesh://{','.join(addresses[first:] + addresses[:first])}/cache"
