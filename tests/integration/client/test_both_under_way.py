"""A write under way when keys are to move is waited for, over whatever connection it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.migration.phase import Migration
from cachemesh.core.names import parse_address
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.local import Process
from tests.support.both_clients import CLIENTS, Caller, calling
from tests.support.movable_pool import reset
from tests.support.relay import LateRelay
from tests.support.resizable_pool import ResizablePool
from tests.support.waiting import AT_MOST, until

WORD = b"is-late"


@dataclass
class UnderWay:
    """A pool of one shard, and a write that is late on its way there."""

    pool: ResizablePool
    relay: LateRelay
    threads: ThreadPoolExecutor
    kind: str

    def calling(self, **options: Any) -> Any:
        return calling(self.kind, self.pool.url, socket_timeout=AT_MOST, **options)

    def write(self, call: Caller) -> Future[Any]:
        """Begin to write."""
        call.driven.ping()
        written = self.threads.submit(call, lambda mesh: mesh.set("key", WORD))
        assert self.relay.kept.wait(AT_MOST)
        return written

    def prepare(self, call: Caller) -> None:
        """Have a client hold commands, as keys are to move to another shard."""
        version = self.pool.write(
            self.pool.small, Migration("prepare", self.pool.large, moves=True)
        )
        core = call.mesh._core
        core.membership.fetch(version)
        until(lambda: core.acts_on(version))
        until(lambda: all(shard.retired or shard.closed for shard in core._retired))

    def is_waited_for(self, written: Future[Any], drained: Callable[[], bool]) -> None:
        """Check that a client is drained only once what was begun has been written."""
        assert not drained()
        self.relay.arrives.set()
        assert written.result(AT_MOST) is True
        until(drained)


@pytest.fixture(params=CLIENTS)
def under_way(
    request: pytest.FixtureRequest, redises: list[Process], tmp_path: Path
) -> Iterator[UnderWay]:
    for process in redises[:2]:
        reset(process)
    with (
        ThreadPoolExecutor(1) as threads,
        LateRelay(str(redises[0].address), WORD) as relay,
        ResizablePool(redises[:2], tmp_path) as pool,
    ):
        pool.masters["cache-0"] = parse_address(relay.address)
        yield UnderWay(pool, relay, threads, request.param)


def drained_of(call: Caller) -> Callable[[], bool]:
    """Return what tells whether all clients are drained that follow a pool together."""
    drained: Callable[[], bool] = call.mesh._core.membership._follower._drained
    return drained


def test_over_the_connection_that_a_client_has_for_itself(under_way: UnderWay) -> None:
    with under_way.calling(single_connection_client=True) as call:
        written = under_way.write(call)
        assert call.mesh.connection is not None
        under_way.prepare(call)
        under_way.is_waited_for(written, drained_of(call))


def test_a_client_with_one_connection_is_routed_anew_as_a_shard_is_added(
    under_way: UnderWay,
) -> None:
    """It has found the one shard, and has sent nothing yet."""
    with under_way.calling(single_connection_client=True) as call:
        call.driven.ping()
        before = call.mesh._core.shards()["cache-0"]
        under_way.prepare(call)
        assert before.retired
        with pytest.raises(Exception, match="before a resize"), before.in_use():
            raise AssertionError("it was to be routed anew")
        version = under_way.pool.write(under_way.pool.large)
        call.mesh._core.membership.fetch(version)
        until(lambda: call.mesh._core.acts_on(version))
        route_table = call.mesh._core.route_table
        execute = call.mesh._execute_on_connection
        assert call(lambda mesh: execute(("SET", "k", "v"), {})) is True
        assert len(route_table.shards) == 2


def test_over_connections_that_were_dropped_meanwhile(under_way: UnderWay) -> None:
    with under_way.calling() as call:
        written = under_way.write(call)
        former = call.mesh._core.shards()["cache-0"].instance
        call(lambda mesh: mesh.connection_pool.disconnect())
        under_way.prepare(call)
        with pytest.raises(NotSentError):  # whoever was about to connect for a command
            call(lambda _: former.take())
        under_way.is_waited_for(written, drained_of(call))


@pytest.mark.parametrize("closed_first", [True, False])
def test_by_a_client_that_was_closed_meanwhile(under_way: UnderWay, closed_first: bool) -> None:
    """Others in its process follow the pool, and go on."""

    def close(mesh: Any) -> Any:
        return mesh.close() if under_way.kind == "sync" else mesh.aclose()

    with under_way.calling() as call, under_way.calling() as other:
        other.driven.ping()
        written = under_way.write(call)
        if closed_first:
            call(close)
        under_way.prepare(other)
        if not closed_first:
            until(lambda: all(shard.retired for shard in call.mesh._core._retired))
            call(close)
        under_way.is_waited_for(written, drained_of(other))
