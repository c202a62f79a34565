"""How quickly shards answer while keys are moved between them.

On connections and in a thread of its own: so a probe waits, as the commands of apps do, for what
the move has a shard do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from metaserver.domain.move_pace import Rests
from metaserver.loops.move_targets import Targets

_EVERY = 0.01  # seconds
_AGAIN = 1.0  # seconds after a shard has failed: the move itself tells of that


@contextmanager
def probing(rests: Rests, shards: Targets) -> Iterator[None]:
    """Have `rests` learn how quickly its shards answer, if it has a bound."""
    if not rests.most:
        yield
        return
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
    wait = _EVERY
    while not over.wait(wait):
        wait = _EVERY
        for shard in tuple(rests.shards):
            begun = time.monotonic()
            try:
                shards.connection(shard).call("PING")
            except redis.RedisError:
                wait = _AGAIN
                continue
            if shard in connected:
                now = time.monotonic()
                rests.answered(shard, now - begun, now)
            connected.add(shard)
