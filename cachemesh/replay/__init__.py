"""Replaying an app's accesses against a pool, cache-aside: GET, and on a miss SET.

from cachemesh.replay import Replay, open_trace

trace = open_trace("web12.trace.xz")
result = Replay(client, trace.keys(), total=trace.operations).run()
"""

from cachemesh.replay.reader import Trace, TraceError, open_trace
from cachemesh.replay.result import ErrorWindow, Progress, Result, Window
from cachemesh.replay.runner import Replay

__all__ = [
    "ErrorWindow",
    "Progress",
    "Replay",
    "Result",
    "Trace",
    "TraceError",
    "Window",
    "open_trace",
]
