"""Planned failovers through the metaserver's API, and the traces they may leave."""

from __future__ import annotations

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
PATH = "/v1/pools/cache/shards/cache-0/failover"


def await_health(api: Api) -> None:
    """Wait until the pool is healthy and no shard has work in progress."""

    def well() -> bool:
        status = api("GET", "/v1/pools/cache/status").json
        return status["health"] == "ok" and {s["state"] for s in status["shards"]} == {"up"}

    until(well)


def everybody(stack: LocalStack, shard: str) -> list[str]:
    """Return the addresses of all instances, the master first, as Sentinel knows them now."""
    (known,) = (each for each in stack.info["shards"] if each["name"] == shard)
    master = stack.master_of(shard)
    return [master, *sorted({known["master"], *known["replicas"]} - {master})]


def replicas_of(stack: LocalStack, shard: str) -> list[str]:
    """Return the addresses of the replicas, as Sentinel knows the master now."""
    return everybody(stack, shard)[1:]


def fail_over(api: Api, shard: str, **body: Any) -> Reply:
    """Ask the metaserver to fail the shard over, and return its reply."""
    return api("POST", f"/v1/pools/cache/shards/{shard}/failover", body, timeout=AT_MOST)


def last_event(api: Api, of: str = "") -> dict[str, Any]:
    """Return the newest entry of the audit log; ``of``: whose action begins with this and a dot."""
    events = api("GET", f"/v1/events?pool=cache&limit=1{of and f'&action={of}'}").json["events"]
    found: dict[str, Any] = events[0]
    return found


@contextmanager
def stopped(stack: LocalStack, *addresses: str) -> Iterator[None]:
    """Stop processes by SIGSTOP for the block."""
    pids = [stack.process(address).pid for address in addresses]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _listeners_for_begin(stack: LocalStack) -> Iterator[list[Any]]:
    """Subscribe at every Sentinel to the beginning of failovers, for the block."""
    with ExitStack() as stacked:
        clients = [stacked.enter_context(connect(at)) for at in stack.info["sentinels"]]
        listeners: list[Any] = [stacked.enter_context(client.pubsub()) for client in clients]
        for listener in listeners:
            listener.subscribe("+try-failover")
            assert listener.get_message(timeout=AT_MOST)
        yield listeners


@contextmanager
def hanging_once_begun(stack: LocalStack, *addresses: str) -> Iterator[None]:
    """Stop processes by SIGSTOP once a Sentinel begins a failover, until the block ends.

    A Sentinel announces the beginning at least 0.1 s before it promotes a replica.
    """
    pids = [stack.process(address).pid for address in addresses]
    done = threading.Event()

    def watch(listener: Any) -> None:
        while not done.is_set():
            if listener.get_message(ignore_subscribe_messages=True, timeout=0.2):
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                return

    with _listeners_for_begin(stack) as listeners:
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


def in_order(stack: LocalStack) -> bool:
    """Return whether no instance or Sentinel keeps a setting of a failover."""
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
    """Set the event as soon as a Sentinel begins a failover.

    Returns:
        The thread that listens, already subscribed.
    """

    def watch() -> None:
        with _listeners_for_begin(stack) as listeners:
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
