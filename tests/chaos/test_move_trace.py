"""A real trace is replayed while a pool grows from three shards to six and shrinks again.

By default the beginning of the smaller trace. `CHAOS_ACCESSES=1000000 pytest -s
tests/chaos/test_move_trace.py` replays the first million accesses of the larger one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import pytest

from cachemesh import CacheMesh
from cachemesh.local import LocalStack
from cachemesh.replay import Replay, ReplayResult, open_trace
from tests.support.metaserver_process import Api
from tests.support.moved_pool import moving_stack
from tests.support.waiting import AT_MOST, PATIENT, until

ACCESSES = int(os.environ.get("CHAOS_ACCESSES", "0"))
FEW = 30_000  # of the smaller trace
TRACE = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "traces"
    / ("orm-busy.trace.xz" if ACCESSES else "web12.trace.xz")
)
POOL = "/v1/pools/cache"
MORE = 3  # shards that come and go

pytestmark = pytest.mark.timeout(1800)


class Resizes:
    """Resizes that are begun one after the other, each once the one before is over."""

    def __init__(self, stack: LocalStack) -> None:
        self._api = Api(stack.info["metaservers"][0], stack.token)
        spares = {spare["name"]: spare["master"] for spare in stack.info["spares"]}
        self.steps: list[Callable[[], int]] = [
            *(lambda name=name, at=at: self._add(name, at) for name, at in spares.items()),
            *(lambda name=name: self._remove(name) for name in spares),
        ]
        self._asking = threading.Thread()
        self.answers: list[int] = []

    def _add(self, name: str, master: str) -> int:
        return self._api("POST", f"{POOL}/shards", {"name": name, "master": master}).status

    def _remove(self, name: str) -> int:
        return self._api("DELETE", f"{POOL}/shards/{name}").status

    def begin(self, step: Callable[[], int]) -> None:
        """Begin a resize, once nothing is left to do of the one before."""
        self.end()

        def ask() -> None:
            try:
                self.answers.append(step())
            except (OSError, HTTPException):
                self.answers.append(0)

        self._asking = threading.Thread(target=ask)
        self._asking.start()

    def end(self) -> None:
        """Wait until nothing is left to do of the last one."""
        if self._asking.ident is not None:
            self._asking.join(AT_MOST)
        until(self._is_over)

    def _is_over(self) -> bool:
        status = self._api("GET", f"{POOL}/status").json
        return status["resize"] is None and not status["sweeps"]


def resized_between(keys: Sequence[bytes], resizes: Resizes) -> Iterator[bytes]:
    """Yield keys, and begin a resize after each part of them."""
    steps = [None, *resizes.steps]
    size = -(-len(keys) // len(steps))
    for number, step in enumerate(steps):
        if step is not None:
            resizes.begin(step)
        yield from keys[number * size : (number + 1) * size]
    resizes.end()


def replayed(client: CacheMesh, keys: Iterator[bytes]) -> ReplayResult:
    client.flushall()
    result = Replay(client, keys).run()
    sys.stderr.write(
        f"\n{result.operations:,} accesses, {result.hits:,} hits, {result.misses:,} misses, "
        f"{result.errors} errors, {result.wrong} wrong; GET p99 {result.get_latency.p99_us:,} us, "
        f"longest {result.max_us:,} us"
    )
    return result


def test_hits_stay_hits(tmp_path: Path) -> None:
    if not TRACE.exists():
        pytest.skip(f"{TRACE} is missing: the traces are not part of the project")
    keys = list(open_trace(str(TRACE)).keys(ACCESSES or FEW))
    with (
        moving_stack(shards=3, replicas=1, spares=MORE) as stack,
        CacheMesh.from_url(stack.info["url"], token=stack.token, **PATIENT) as client,
    ):
        before = replayed(client, iter(keys))
        resizes = Resizes(stack)
        during = replayed(client, resized_between(keys, resizes))
        assert len(resizes.answers) == 2 * MORE and set(resizes.answers) <= {200, 201, 202}
        assert len(client.route_table().shards) == MORE
    assert (during.errors, during.wrong) == (before.errors, before.wrong) == (0, 0)
    assert (during.hits, during.misses) == (before.hits, before.misses)
