"""An app in a process of its own, which is told by lines of JSON what to do.

Run by `python -m tests.support.chaos_app URL NAME`; each order is answered by one line:

{"do": "ask", "address": "host:port", "words": [...]}   send one command to one server
{"do": "status"}                                        when each writer last succeeded
{"do": "stop", "master": "host:port"}                   stop, and look every write up there
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any, cast

import redis

from benchmarks.failover.checker import Outcome, look_up
from benchmarks.failover.contenders import CONTENDERS
from benchmarks.failover.load import Load
from benchmarks.failover.site import Site, ask
from benchmarks.failover.writer import Writer
from tests.support.client_load import PAUSE
from tests.support.waiting import AT_MOST

SHARD = "cache"


def main(url: str, who: str) -> None:
    """Run two writers in threads and two in tasks until an order says stop."""
    site = Site(cast(Any, None), url, {}, (), (SHARD,))  # no processes to control from here
    loads = []
    for name in ("cachemesh", "cachemesh-asyncio"):
        writers = [Writer(f"{who}/{name}/{i}", SHARD, f"{who}-{name}-{i}") for i in range(2)]
        loads.append(Load(CONTENDERS[name], site, writers, PAUSE))
    for load in loads:
        load.warm(AT_MOST)
    _say({"ready": True})
    writers = [writer for load in loads for writer in load.writers]
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "ask":
            _say(_asked(order))
        elif order["do"] == "status":
            _say({"latest": [writer.acknowledged[-1].started for writer in writers]})
        else:
            _say(_stopped(loads, writers, order["master"]))
            return


def _asked(order: dict[str, Any]) -> Any:
    try:
        return {"reply": ask(order["address"], *order["words"])}
    except redis.RedisError as error:
        return {"error": str(error)}


def _stopped(loads: list[Load], writers: list[Writer], master: str) -> dict[str, Any]:
    for load in loads:
        load.stop()
    outcome = Outcome()
    gone = look_up(master, writers, outcome)
    return {
        "acknowledged": sum(len(writer.acknowledged) for writer in writers),
        "lost": [write.ended for write in gone],
        "wrong": outcome.wrong + sum(writer.wrong for writer in writers),
        "examples": outcome.examples + [line for w in writers for line in w.examples],
        "errors": sum((writer.errors for writer in writers), Counter()),
        "times": sorted(write.ended for w in writers for write in w.acknowledged),
    }


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
