"""Servers that run but do not serve: paused, dropping connections, asleep, full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from benchmarks.failover import faults
from benchmarks.failover.site import Site, ask, direct, wait_for
from cachemesh.local import LocalStack
from tests.support.client_load import await_whole, under_load
from tests.support.waiting import AT_MOST


def test_client_pause(here: Site) -> None:
    """A pause below every timeout delays apps; no write is lost and no error is raised."""
    shard = here.shards[0]
    master = here.stack.master_of(shard)
    with under_load(here, hit=shard, lossless=True) as running:
        for mode in ("WRITE", "ALL"):
            ask(master, "CLIENT", "PAUSE", 400, mode, timeout=AT_MOST)
            running.await_writes(each=20)  # once the pause is over
    assert not [failure for writer in running.writers for failure in writer.failures]


def test_client_kill(here: Site) -> None:
    """Connections are closed in the middle of commands, again and again."""
    shard = here.shards[0]
    master = here.stack.master_of(shard)
    words = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with under_load(here, hit=shard, lossless=True) as running:
        for _ in range(10):
            ask(master, *words, timeout=AT_MOST)
            ask(master, *words, timeout=AT_MOST)  # while clients connect anew
            running.await_writes(shard)


def test_debug_sleep() -> None:
    """A master asleep for longer than down-after is replaced, and wakes up as a master."""
    with sleeper() as here:
        shard = here.shards[0]
        before = here.stack.master_of(shard)
        with under_load(here, hit=shard):
            # Again, since Sentinels that did not agree in time try no sooner than in 20 s.
            while here.stack.master_of(shard) == before:
                with suppress(redis.TimeoutError):
                    ask(before, "DEBUG", "SLEEP", 4, timeout=0.1)
                with suppress(AssertionError):
                    wait_for(lambda: here.stack.master_of(shard) != before, 5.0, "")


def test_maxclients(here: Site) -> None:
    """A full master fails the commands of its own keys, until clients may connect again."""
    shard = here.shards[0]
    master = here.stack.master_of(shard)
    with under_load(here, hit=shard, lossless=True) as running:
        operator = direct(master, AT_MOST)
        operator.ping()
        before = operator.config_get("maxclients")["maxclients"]
        operator.config_set("maxclients", 1)
        operator.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        running.await_failures(shard)
        operator.config_set("maxclients", before)
        operator.close()
        running.await_writes()


def test_a_restart_while_replicas_stand_still(here: Site) -> None:
    """With no replica to promote, the shard is down until its master is back."""
    shard = here.shards[0]
    replica = here.stack.info["shards"][0]["replicas"][0]
    with under_load(here, hit=shard, failover=False) as running:
        here.stack.process(replica).pause()
        faults.restart_master(here, shard)
        running.await_writes(each=20)  # to a master without replicas
        here.stack.process(replica).resume()


@contextmanager
def sleeper() -> Iterator[Site]:
    """Start a shard whose servers allow DEBUG, which Redis 7 forbids by default."""
    with LocalStack(shards=1, replicas=0, metaservers=0, dashboard=False) as stack:
        allowed = "enable-debug-command yes"
        master = stack.start_redis(None, allowed)
        host, port = master.address
        replica = stack.start_redis(None, allowed, f"replicaof {host} {port}")
        for sentinel in stack.info["sentinels"]:
            words = ("SET", "sleepy", "down-after-milliseconds", 1000)
            for order in (("MONITOR", "sleepy", host, port, 2), words):
                ask(sentinel, "SENTINEL", *order, timeout=AT_MOST)
        addresses = ",".join(stack.info["sentinels"])
        stack.info["shards"][:] = [
            {"name": "sleepy", "master": f"{host}:{port}", "replicas": [str(replica.address)]}
        ]
        found = Site.of(stack)
        url = f"cachemesh+sentinel://{addresses}/sleepy"
        here = Site(stack, url, {}, found.sentinels, ("sleepy",))
        await_whole(here, "sleepy")
        yield here
