"""How quickly shards answer while keys are moved between them.

On connections and in a thread of its own: so a probe waits, as the commands of apps do, for what
the move has a shard do.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from metaserver.domain.move_pace import Rests
from metaserver.loops.move_targets import Targets
from metaserver.store import StorageError

_EVERY = 0.01  # seconds
_AGAIN = 0.2  # seconds after a shard has failed


@contextmanager
def probing(rests: Rests, shards: Targets) -> Iterator[None]:
    """Have `rests` learn how quickly its shards answer, if it has a bound."""
    if not rests.most:
        yield
        return
    rests.forget()
    over = threading.Event()
    with shards.opened() as own:
        thread = threading.Thread(target=_probe, args=(rests, own, over), name="latency-probe")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _probe(rests: Rests, shards: Targets, over: threading.Event) -> None:
    connected = set[str]()
    while not over.wait(_EVERY):
        for shard in sorted(rests.shards & shards.masters.keys()):
            begun = time.monotonic()
            try:
                shards.connection(shard).call("PING")
            except (redis.RedisError, StorageError):
                rests.answered(shard, math.inf, time.monotonic())
                connected.discard(shard)
                over.wait(_AGAIN)  # the move itself tells of that
                continue
            if shard in connected:
                now = time.monotonic()
                rests.answered(shard, now - begun, now)
            connected.add(shard)
