"""Replays an app's accesses against a pool, cache-aside: GET, and on a miss SET.

reader, decompression, errors    `Trace` and `open_trace`: the accesses in a file
workload                         made-up accesses
runner                           `Replay`: threads that make the accesses
result, histogram, error_log     what a replay measures, and its `ReplayResult`

    from cachemesh.replay import Replay, open_trace

    trace = open_trace("web12.trace.xz")
    result = Replay(client, trace.keys(), total=trace.operations).run()
"""

from cachemesh.replay.errors import TraceError
from cachemesh.replay.reader import Trace, open_trace
from cachemesh.replay.result import ErrorWindow, ReplayProgress, ReplayResult, ReplayWindow
from cachemesh.replay.runner import Replay

__all__ = [
    "ErrorWindow",
    "Replay",
    "ReplayProgress",
    "ReplayResult",
    "ReplayWindow",
    "Trace",
    "TraceError",
    "open_trace",
]
