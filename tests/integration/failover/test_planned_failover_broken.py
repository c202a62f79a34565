"""Planned failovers whose metaserver dies or stops, or whose client disconnects."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api, environment
from tests.support.planned_failovers import (
    PATH,
    at_once_when_begun,
    await_health,
    in_order,
    last_event,
)
from tests.support.process_cleanup import ending
from tests.support.sentinel_writers import Writers
from tests.support.waiting import AT_MOST, until


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, metaservers=2, dashboard=False) as started:
        yield started


def apis(stack: LocalStack) -> list[Api]:
    return [Api(address, stack.token) for address in stack.info["metaservers"]]


def test_the_metaserver_is_killed_in_the_midst_of_it(stack: LocalStack) -> None:
    first, second = apis(stack)
    await_health(second)
    before = stack.master_of("cache-0")
    begun = threading.Event()
    thread = at_once_when_begun(stack, begun)
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        reply = first.in_background("POST", PATH, {"hurry": True})
        assert begun.wait(AT_MOST)
        os.kill(stack.process(first.address).pid, signal.SIGKILL)
        with pytest.raises((OSError, http.client.HTTPException)):
            reply()
        thread.join(AT_MOST)
        count = len(writers.acknowledged)
        until(lambda: len(writers.acknowledged) > count + 50)
        event = until(
            lambda: e if (e := last_event(second))["action"].startswith("shard.fail") else None
        )
    assert (writers.errors, writers.lost()) == ([], [])
    # Either outcome is right: the Sentinel may be quicker than the death.
    after = stack.master_of("cache-0")
    assert event["action"] == ("shard.failover-undone" if after == before else "shard.failover")
    assert event["actor"] == "system"
    assert event["after"]["master"] == after
    await_health(second)
    until(lambda: in_order(stack))
    assert second("POST", PATH, {"hurry": True}).status == 200


def test_the_metaserver_is_stopped_in_the_midst_of_it(stack: LocalStack) -> None:
    first, second = apis(stack)
    await_health(second)
    begun = threading.Event()
    thread = at_once_when_begun(stack, begun)
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        reply = first.in_background("POST", PATH, {"hurry": True})
        assert begun.wait(AT_MOST)
        os.kill(stack.process(first.address).pid, signal.SIGTERM)
        with contextlib.suppress(OSError, http.client.HTTPException):
            reply()
        thread.join(AT_MOST)
        count = len(writers.acknowledged)
        until(lambda: len(writers.acknowledged) > count + 50)
    assert (writers.errors, writers.lost()) == ([], [])
    await_health(second)
    until(lambda: in_order(stack))


def test_the_user_goes_away(stack: LocalStack) -> None:
    first, _ = apis(stack)
    await_health(first)
    before = stack.master_of("cache-0")
    begun = threading.Event()
    thread = at_once_when_begun(stack, begun)
    command = [sys.executable, "-m", "cachemesh_command", "shard", "failover", "cache-0", "--now"]
    with Writers(stack, "cache-0") as writers:
        until(lambda: len(writers.acknowledged) > 50)
        env = {**environment(), **stack.info["env"]}
        with ending(subprocess.Popen(command, env=env, stderr=subprocess.PIPE)) as process:
            assert begun.wait(AT_MOST)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=AT_MOST)
        thread.join(AT_MOST)
        event = until(lambda: e if (e := last_event(first))["action"] == "shard.failover" else None)
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert b"the metaserver goes on" in said and b"cachemesh event list" in said
    assert event["before"]["master"] == before != stack.master_of("cache-0")
    assert (writers.errors, writers.lost()) == ([], [])
    await_health(first)
    until(lambda: in_order(stack))
