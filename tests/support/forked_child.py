"""A forked child that uses a client of its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

from tests.support.both_clients import Caller
from tests.support.waiting import AT_MOST


def in_child(call: Caller, body: Callable[[], Any]) -> None:
    """Run a function in a forked child, and assert that it raises nothing.

    The child collects garbage before and after: finalizers of the parent's objects run there.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(int(AT_MOST))
            if call.loop is not None:  # the parent's runs in a thread that a child does not have
                call.loop = asyncio.new_event_loop()
                threading.Thread(target=call.loop.run_forever, daemon=True).start()
            gc.collect()
            body()
            call(lambda _: gc.collect())
            code = 0
        finally:
            os.write(writing, b"" if code == 0 else traceback.format_exc().encode()[-60_000:])
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        story = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert (code, story) == (0, "")
