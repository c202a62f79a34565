"""Planned failovers whose metaserver dies or stops, and whose user goes away."""

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
from tests.integration.failover.test_planned_failover import (
    FENCE,
    await_health,
    everybody,
    last_event,
)
from tests.support.metaserver_loops import connect
from tests.support.metaserver_process import Api, environment
from tests.support.process_cleanup import ending
from tests.support.sentinel_writers import Writers
from tests.support.waiting import AT_MOST, until

PATH = "/v1/pools/cache/shards/cache-0/failover"


@pytest.fixture
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=1, metaservers=2, dashboard=False) as started:
        yield started


def apis(stack: LocalStack) -> list[Api]:
    return [Api(address, stack.token) for address in stack.info["metaservers"]]


def in_order(stack: LocalStack) -> bool:
    """Whether nothing is left of a failover."""
    values = []
    for address in everybody(stack, "cache-0"):
        with connect(address) as client:
            values.append(client.config_get(FENCE)[FENCE])
            values.append(client.config_get("replica-priority")["replica-priority"])
    for address in stack.info["sentinels"]:
        with connect(address) as client:
            values.append(str(client.sentinel_master("cache-0")["failover-timeout"]))
    return set(values) == {"0", "100", "10000"}


def at_once_when_begun(stack: LocalStack, action: threading.Event) -> threading.Thread:
    """Set the event as soon as the last Sentinel, which leads when all are alike, begins."""

    def watch() -> None:
        with contextlib.ExitStack() as stacked:
            clients = [stacked.enter_context(connect(at)) for at in stack.info["sentinels"]]
            listeners = [stacked.enter_context(client.pubsub()) for client in clients]
            for listener in listeners:
                listener.subscribe("+try-failover")
                assert listener.get_message(timeout=AT_MOST)
            ready.set()
            while not any(
                listener.get_message(ignore_subscribe_messages=True, timeout=0.002)
                for listener in listeners
            ):
                pass
            action.set()

    ready = threading.Event()
    thread = threading.Thread(target=watch)
    thread.start()
    assert ready.wait(AT_MOST)
    return thread


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
    # Which of both it becomes depends on whether the Sentinel was quicker than the death.
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
    command = [sys.executable, "-m", "cachemesh.cli.main", "shard", "failover", "cache-0", "--now"]
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
