"""A Sentinel that is silent: clients that hold commands do not wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cachemesh.core.placement import Shard
from cachemesh.local import LocalStack
from metaserver.domain.planning import plan_add
from metaserver.domain.pool_state import PoolState
from metaserver.domain.resize import begun, prepared, resize_of
from metaserver.loops.resize_shards import ResizeShards
from metaserver.process.config import Config
from metaserver.redis_io.term_fence import TermFence
from tests.support.metaserver_loops import NETWORKS
from tests.support.relay import Relay
from tests.support.store_records import document
from tests.support.waiting import AT_MOST

PATIENT = Config(Path("none"), instance_timeout=AT_MOST, sentinel_timeout=10 * AT_MOST)


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, metaservers=0, dashboard=False) as stack:
        yield stack


def held(stack: LocalStack, sentinels: list[str]) -> PoolState:
    """Return a pool whose clients hold commands on keys that are to move to shard c."""
    masters = {name: str(stack.start_redis().address) for name in "abc"}
    before = document("cache", "a", "b").replace(sentinels=tuple(sentinels))
    plan = replace(plan_add(before, Shard("c"), masters["c"]), strategy="move")
    begins = begun(plan, "token:me", "c", masters)
    resize = resize_of(begins)
    assert resize is not None
    return PoolState(prepared(begins, resize))


def test_one_that_was_silent_before_is_hardly_waited_for(stack: LocalStack) -> None:
    first, second, third = stack.info["sentinels"]
    with ThreadPoolExecutor() as threads, Relay(third) as relay:
        shards = ResizeShards(PATIENT, NETWORKS, TermFence(1, lambda: None))
        state = held(stack, [first, second, relay.address])
        resize = resize_of(state.document)
        assert resize is not None
        relay.cut("refuses")
        shards.ask_sentinels(state)
        relay.heal()
        relay.cut("is silent")  # for longer than the test may take
        looked = threads.submit(shards.look, state, resize).result(AT_MOST)
        assert (set(looked.given), looked.failed) == (set("abc"), {})
        version = state.document.version
        fenced = threads.submit(shards.fence, state, resize, version, ()).result(AT_MOST)
        assert (set(fenced.given), fenced.failed) == (set("abc"), {})
