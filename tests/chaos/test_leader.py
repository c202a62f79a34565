"""The leading metaserver is killed or frozen under a stream of changes: none is lost, none doubled.

It is killed twice and frozen once by default, more often with CHAOS_SECONDS:
`scripts/chaos --minutes 5 -k leader`, 20 times each.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemesh.local import LocalStack, Process
from tests.support.change_stream import ChangeStream
from tests.support.leading import leading, process_of
from tests.support.waiting import AT_MOST, until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "8"))
ROUNDS = int(SECONDS / 15)


def kill(_stack: LocalStack, process: Process) -> None:
    process.kill()


def freeze(stack: LocalStack, process: Process) -> None:
    """Freeze a process, but not in the midst of a write: nobody could write until it goes on."""

    def frozen() -> bool:
        process.pause()
        database = sqlite3.connect(Path(stack.info["dir"]) / "meta.db", timeout=2.0)
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.resume()
            return False
        finally:
            database.close()
        return True

    until(frozen)


@pytest.mark.timeout(SECONDS * 4 + 600)
@pytest.mark.parametrize(("harm", "at_least"), [(kill, 2), (freeze, 1)])
def test_the_leader_is_lost(harm: Callable[[LocalStack, Process], None], at_least: int) -> None:
    with LocalStack(
        shards=1, replicas=0, sentinels=1, metaservers=3, dashboard=False, timeout=AT_MOST
    ) as stack:
        with ChangeStream(stack.info["metaservers"], stack.token) as stream:
            for number in range(1, max(at_least, ROUNDS) + 1):
                stream.go_on()
                before = leading(stack)
                process = process_of(stack, before)
                began = time.monotonic()
                harm(stack, process)
                epoch = before["leader"]["epoch"]
                later = leading(stack, but=process, after=epoch)
                took = time.monotonic() - began
                sys.stderr.write(f"{harm.__name__} {number}: another leads after {took:.2f} s\n")
                assert later["leader"]["owner"] != before["leader"]["owner"]
                process.resume() if harm is freeze else process.restart(AT_MOST)
                stream.go_on()
        stream.check()
        sys.stderr.write(
            f"{stream.made} changes were told as made, each is in the audit log once\n"
        )
