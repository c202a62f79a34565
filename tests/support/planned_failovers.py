"""Planned failovers through the metaserver's API, and the traces they may leave."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cachemesh.local import LocalStack
from tests.support.metaserver_process import Api, Reply
from tests.support.plain_redis import connect
from tests.support.waiting import AT_MOST, until

FENCE = "min-replicas-to-write"


def await_health(api: Api) -> None:
    """Wait until nothing is missing anywhere, and nobody is at work either."""

    def well() -> bool:
        status = api("GET", "/v1/pools/cache/status").json
        return status["health"] == "ok" and {s["state"] for s in status["shards"]} == {"up"}

    until(well)


def everybody(stack: LocalStack, shard: str) -> list[str]:
    """All instances, the master first: of now, which the pool's status is not at once."""
    (known,) = (each for each in stack.info["shards"] if each["name"] == shard)
    master = stack.master_of(shard)
    return [master, *sorted({known["master"], *known["replicas"]} - {master})]


def replicas_of(stack: LocalStack, shard: str) -> list[str]:
    return everybody(stack, shard)[1:]


def fail_over(api: Api, shard: str, **body: Any) -> Reply:
    return api("POST", f"/v1/pools/cache/shards/{shard}/failover", body, timeout=AT_MOST)


def last_event(api: Api) -> dict[str, Any]:
    events = api("GET", "/v1/events?pool=cache&limit=1").json["events"]
    found: dict[str, Any] = events[0]
    return found


@contextmanager
def stopped(stack: LocalStack, *addresses: str) -> Iterator[None]:
    """Hold processes by SIGSTOP."""
    pids = [stack.process(address).pid for address in addresses]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def hanging_once_begun(stack: LocalStack, *addresses: str) -> Iterator[None]:
    """Hold processes by SIGSTOP as soon as a Sentinel says that it begins a failover, which is at
    least 0.1 s before it promotes anybody, until the block ends."""
    pids = [stack.process(address).pid for address in addresses]
    done = threading.Event()

    def watch(listener: Any) -> None:
        while not done.is_set():
            if listener.get_message(ignore_subscribe_messages=True, timeout=0.2):
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                return

    with ExitStack() as stacked:
        clients = [stacked.enter_context(connect(at)) for at in stack.info["sentinels"]]
        listeners = [stacked.enter_context(client.pubsub()) for client in clients]
        for listener in listeners:
            listener.subscribe("+try-failover")
            assert listener.get_message(timeout=AT_MOST)
        threads = [threading.Thread(target=watch, args=(listener,)) for listener in listeners]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join(AT_MOST)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


PATH = "/v1/pools/cache/shards/cache-0/failover"


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
