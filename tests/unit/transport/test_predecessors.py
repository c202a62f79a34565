"""What a shard remembers of those whose place it took in one resize after another."""

from __future__ import annotations

from typing import Any

import pytest

from cachemesh.transport.aio.shard import ShardClient as AsyncShardClient
from cachemesh.transport.sync.shard import ShardClient

NOBODY: Any = None


class Blocked:
    """A connection on which a command blocks."""

    ended = False

    def send_no_more(self) -> None:
        self.ended = True


@pytest.fixture(params=["sync", "asyncio"])
def shard(request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return ShardClient("a", NOBODY, NOBODY)
    return AsyncShardClient("a", NOBODY, NOBODY, NOBODY)


def test_those_on_which_nothing_blocks_are_forgotten(shard: Any) -> None:
    for _ in range(20):
        shard = shard.successor()
    assert len(shard._earlier) == 2, "the first one, which the fixture has yet, and the last"


def test_what_blocks_since_many_resizes_is_ended_as_its_key_leaves(shard: Any) -> None:
    early, late, stays = Blocked(), Blocked(), Blocked()
    shard._blocked.update({early: [b"leaves"], stays: [b"stays"]})
    first = shard
    for _ in range(20):
        shard = shard.successor()
    first._blocked[late] = [b"leaves"]  # by a command that was routed long ago
    shard = shard.successor()
    shard.unblock(lambda key: key == b"leaves")
    assert early.ended and late.ended and not stays.ended
