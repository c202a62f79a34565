"""Which metaserver of a stack leads."""

from __future__ import annotations

from typing import Any

from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack, Process
from tests.support.waiting import until

Listed = dict[str, Any]


def leading(stack: LocalStack, *, but: Process | None = None, after: int = 0) -> Listed:
    """Wait for a leader, and return what GET /v1/metaservers says.

    Args:
        but: a metaserver that is not asked.
        after: the leader's term has to be later.
    """
    others = [at for at in stack.info["metaservers"] if but is None or at != str(but.address)]
    client = MetaserverClient(others, stack.token)

    def found() -> Listed | None:
        listed: Listed = client.request("GET", "/v1/metaservers")
        leader = listed["leader"]
        return listed if leader is not None and leader["epoch"] > after else None

    result: Listed = until(found)
    return result


def process_of(stack: LocalStack, listed: Listed) -> Process:
    """Return the process that leads."""
    (address,) = [each["address"] for each in listed["metaservers"] if each["leads"]]
    return stack.process(address)
