"""Keys that have got to their shard are not pulled again where others of the call are stuck."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

import pytest

from cachemesh import CacheMesh
from cachemesh._client.migration_state import Stage
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import ShardTimeoutError
from cachemesh.core.rerouting import KeyMovingError

PAIR = ("a", "b")


class Puller:
    """Pulls all keys but one."""

    def pull(self, left: set[bytes], _: float) -> None:
        left.intersection_update({b"stuck"})
        raise ShardTimeoutError("it is stuck")


class AsyncPuller:
    async def pull(self, left: set[bytes], deadline: float) -> None:
        Puller().pull(left, deadline)


@pytest.mark.parametrize("in_part", [False, True])
@pytest.mark.parametrize(("kind", "puller"), [(CacheMesh, Puller), (AsyncCacheMesh, AsyncPuller)])
def test_what_has_got_there_is_remembered(kind: Any, puller: Any, in_part: bool) -> None:
    core = kind.from_url("cachemesh+file:///nowhere/cache.json")._core
    stage = Stage[Any]()
    stage.pullers[PAIR] = puller()
    moving = KeyMovingError({PAIR: [b"one", b"stuck", b"other"]}, stage)

    async def settle() -> None:
        settled = core._settle(moving, time.monotonic() + 60.0, in_part)
        if inspect.isawaitable(settled):
            await settled

    with pytest.raises(ShardTimeoutError, match="it is stuck"):
        asyncio.run(settle())
    assert [key in stage for key in (b"one", b"stuck", b"other")] == [True, False, True]
