"""Metaservers are killed or frozen under a stream of changes: none is lost, none doubled.

The leader is killed once and frozen once by default, more often with CHAOS_SECONDS
(`scripts/chaos --minutes 5 -k leader`: 20 times each). With CHAOS_CHANGES=500 each of eight writers
makes so many changes while any metaserver is killed at random; by default few. With either, all of
it is done on ZooKeeper too; by default `test_leader_cut_off.py` has a leader there.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachemesh.local import LocalStack, Process
from tests.support.change_stream import ChangeStream
from tests.support.leading import leading, process_of
from tests.support.waiting import AT_MOST, until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "8"))
ROUNDS = max(1, int(SECONDS / 15))
CHANGES = int(os.environ.get("CHAOS_CHANGES", "4"))
KILLS = max(1, CHANGES // 25)  # of any metaserver
STORES = [
    "sqlite",
    *(["zookeeper"] if {"CHAOS_SECONDS", "CHAOS_CHANGES"} & set(os.environ) else []),
]


@pytest.fixture(scope="module", params=STORES)
def stack(request: pytest.FixtureRequest) -> Iterator[LocalStack]:
    """Three metaservers on a file, or on three ZooKeepers."""
    where: str | bool = False
    if request.param == "zookeeper":
        where = f"{request.getfixturevalue('running_ensemble').hosts}/leader"
    with LocalStack(
        shards=1,
        replicas=0,
        sentinels=1,
        metaservers=3,
        dashboard=False,
        zookeeper=where,
        timeout=AT_MOST,
    ) as running:
        yield running


def kill(_stack: LocalStack, process: Process) -> None:
    process.kill()


def freeze(stack: LocalStack, process: Process) -> None:
    """Freeze a process, but not in the midst of a write to a file, which would lock it."""

    def frozen() -> bool:
        process.pause()
        if stack.info["zookeeper"]:
            return True
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


@pytest.mark.timeout(SECONDS * 8 + 600)
def test_the_leader_is_lost(stack: LocalStack) -> None:
    waits: dict[str, list[float]] = {}
    with ChangeStream(stack.info["metaservers"], stack.token) as stream:
        for harm in (kill, freeze) * ROUNDS:
            stream.go_on()
            before = leading(stack)
            process = process_of(stack, before)
            began = time.monotonic()
            harm(stack, process)
            later = leading(stack, but=process, after=before["leader"]["epoch"])
            waits.setdefault(harm.__name__, []).append(time.monotonic() - began)
            assert later["leader"]["owner"] != before["leader"]["owner"]
            process.resume() if harm is freeze else process.restart(AT_MOST)
            stream.go_on()
    stream.check()
    for name, took in waits.items():
        sys.stderr.write(f"{name} x {len(took)}: another leads after {max(took):.2f} s at most\n")
    sys.stderr.write(f"{stream.made} changes were told as made, each is in the audit log once\n")


@pytest.mark.timeout(CHANGES * 8 + 600)
def test_any_metaserver_is_killed(stack: LocalStack) -> None:
    # Eight writers that never rest may be more than ZooKeeper takes from a busy machine.
    addresses, refusals = stack.info["metaservers"], ("storage-failed",)
    with ChangeStream(addresses, stack.token, writers=8, refusals=refusals) as stream:
        for _ in range(KILLS):
            process = stack.process(random.choice(addresses))
            stream.go_on(1)  # somewhere in the midst of the next ones
            process.kill()
            stream.go_on(CHANGES // KILLS)
            process.restart(AT_MOST)
    stream.check()
    told = f"{stream.made} changes of 8 writers told as made, {stream.refused} as refused"
    sys.stderr.write(f"{KILLS} kills: {told}, and true\n")
