"""Both clients under load while a fault happens, and a check of what is promised then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from benchmarks.failover.checker import Outcome, check
from benchmarks.failover.contenders import CONTENDERS
from benchmarks.failover.load import Load
from benchmarks.failover.site import Site, as_map, ask, direct, wait_for
from benchmarks.failover.writer import Writer
from tests.support.waiting import AT_MOST

CLIENTS = ("cachemesh", "cachemesh-asyncio")
PAUSE = 0.02  # seconds between two turns of a writer, so that tests side by side keep up
_PATIENT, _HASTY = 600_000, 1_000  # down-after-milliseconds
_STOOD_STILL = 1.0  # seconds; a machine that stood still so long may have failed calls anywhere


class ClientLoad:
    """Four writers on each shard: two threads of the sync client, two tasks of the asyncio one.

    Attributes:
        site: the stack under load.
        began: monotonic seconds at which the load began.
    """

    def __init__(self, site: Site, **options: Any) -> None:
        self.site = site
        writers = site.writers([4] * len(site.shards))
        self._loads = {
            name: Load(CONTENDERS[name], site, writers[number::2], PAUSE, options)
            for number, name in enumerate(CLIENTS)
        }
        self.began = time.monotonic()

    @property
    def writers(self) -> list[Writer]:
        """All writers of both clients."""
        return [writer for load in self._loads.values() for writer in load.writers]

    def writers_of(self, *shards: str) -> list[Writer]:
        """Return the writers of these shards, by default all."""
        return [writer for writer in self.writers if not shards or writer.shard in shards]

    @property
    def stood_still(self) -> bool:
        """Whether a CPU ran nothing for so long that any call may have failed."""
        return max(load.stall for load in self._loads.values()) >= _STOOD_STILL

    def warm(self) -> None:
        """Start the load, and wait until every writer has written."""
        for load in self._loads.values():
            load.warm(AT_MOST)

    def await_writes(self, *shards: str, each: int = 1) -> None:
        """Wait until each writer of these shards, by default all, has new writes acknowledged.

        Args:
            shards: names.
            each: how many writes of each writer, all of them begun after this call.
        """
        since = time.monotonic()
        wanted = self.writers_of(*shards)

        def written() -> bool:
            return all(
                len(w.acknowledged) >= each and w.acknowledged[-each].started > since
                for w in wanted
            )

        wait_for(written, AT_MOST, f"no writes get through on {shards or 'any shard'} again")

    def await_failures(self, shard: str) -> None:
        """Wait until a call of each writer of the shard has failed since the load began."""
        wanted = self.writers_of(shard)
        wait_for(lambda: all(w.failures for w in wanted), AT_MOST, f"nobody fails on {shard}")

    def await_recovery(self) -> None:
        """Wait until each writer has a new write on the master that Sentinel names."""
        for shard in self.site.shards:
            master = direct(str(self.site.settle(shard)))
            try:
                for writer in self.writers_of(shard):
                    _await_arrival(master, writer)
            finally:
                master.close()

    def end(self) -> None:
        """Stop the writers without checking what was written, after a failure elsewhere."""
        for load in self._loads.values():
            with suppress(AssertionError):  # what went wrong first is what counts
                load.stop()

    def stop(self) -> dict[str, dict[str, Outcome]]:
        """Stop the writers and check each of their writes.

        Returns:
            Client name -> shard -> outcome.

        Raises:
            AssertionError: a writer does not stop.
        """
        ends = {name: load.stop() for name, load in self._loads.items()}
        return {
            name: {
                shard: check(
                    self.site,
                    [writer for writer in load.writers if writer.shard == shard],
                    ends[name],
                    load.stall,
                )
                for shard in self.site.shards
            }
            for name, load in self._loads.items()
        }


def _await_arrival(master: Any, writer: Writer) -> None:
    since = time.monotonic()

    def arrived() -> bool:
        if not writer.acknowledged or writer.acknowledged[-1].started < since:
            return False
        with suppress(redis.ConnectionError, redis.TimeoutError):  # it may be busy still
            return bool(master.exists(writer.key(writer.acknowledged[-1].sequence)))
        return False

    wait_for(arrived, AT_MOST, f"{writer.name} does not write to the master in charge")


def fails_over_alone(site: Site, shard: str | None) -> None:
    """Let Sentinels fail over this shard soon, and no other shard at all.

    Otherwise a busy machine, and not a fault, could make the other masters look down.
    """
    for sentinel in site.stack.info["sentinels"]:
        for name in site.shards:
            value = _HASTY if name == shard else _PATIENT
            words = ("SENTINEL", "SET", name, "down-after-milliseconds", value)
            ask(sentinel, *words, timeout=AT_MOST)


@contextmanager
def under_load(
    site: Site, hit: str | None = None, lossless: bool = False, failover: bool = True
) -> Iterator[ClientLoad]:
    """Run the load around the block; then assert what is promised, and print the other figures.

    Args:
        site: the stack.
        hit: the shard where a fault happens; None: no app may notice anything.
        lossless: no acknowledged write may be lost on that shard either.
        failover: Sentinels may fail that shard over of their own accord.
    """
    fails_over_alone(site, hit if failover and not lossless else None)
    running = ClientLoad(site)
    try:
        running.warm()
        yield running
        running.await_recovery()
        verify(running.stop(), hit, lossless)
    finally:
        running.end()


def verify(
    found: dict[str, dict[str, Outcome]], hit: str | None = None, lossless: bool = False
) -> None:
    """Assert what is promised, and print the figures that are not promised.

    Args:
        found: as of `ClientLoad.stop`.
        hit: the shard where a fault happened.
        lossless: no acknowledged write may be lost on that shard either.

    Raises:
        AssertionError: a promise is broken.
    """
    for client, outcomes in found.items():
        for shard, outcome in outcomes.items():
            where = f"{client} on {shard}"
            assert outcome.wrong == 0, (where, outcome.examples)
            if shard != hit:
                harm = outcome.lost + outcome.missed + outcome.stale
                if outcome.stall < _STOOD_STILL:
                    harm += outcome.error_count
                assert harm == 0, f"nothing failed there: {where}: {outcome}"
                continue
            print(  # noqa: T201  # the figures, printed with pytest -s
                f"\n  {where}: {outcome.acknowledged:,} acknowledged, {outcome.lost:,} lost, "
                f"{outcome.missed} missed, {outcome.stale} stale, errors {outcome.errors}, "
                f"gap {outcome.gaps[shard]:.2f} s"
            )
            if lossless:
                lost = outcome.lost + outcome.missed + outcome.stale
                assert lost == 0, f"nothing may be lost: {where}: {outcome}"


def heal(site: Site) -> None:
    """Bring every process back, and wait until each shard has one master and all replicas."""
    for process in site.stack.processes:
        process.resume()
        if process.poll() is not None:
            process.spawn()
    for shard in site.shards:
        await_whole(site, shard)


def await_whole(site: Site, shard: str) -> None:
    """Wait until the shard has one master and its replicas, and every Sentinel sees them."""
    host, port = site.settle(shard)
    replicas = [at for at in site.instances(shard) if at != f"{host}:{port}"]

    def attached() -> bool:
        whole = [_replicates(at, host, port) for at in replicas]  # each is told, not the first
        return all(whole)

    def seen() -> bool:
        sentinels = site.stack.info["sentinels"]
        return all(_sees(sentinel, shard, len(replicas)) for sentinel in sentinels)

    wait_for(attached, AT_MOST, f"{shard} does not get its replicas {replicas} back")
    wait_for(seen, AT_MOST, f"the Sentinels do not see {shard} whole")


def _replicates(address: str, host: str, port: int) -> bool:
    """Return whether the instance is a connected replica of that master.

    An instance with another role is made a replica: Sentinel would do so only after 10 s.
    """
    with suppress(redis.RedisError):
        role = ask(address, "ROLE")
        if role[0] != "slave" or (str(role[1]), int(role[2])) != (host, port):
            ask(address, "REPLICAOF", host, port)
        return bool(role[0] == "slave" and role[3] == "connected")
    return False


def _sees(sentinel: str, shard: str, replicas: int) -> bool:
    with suppress(redis.RedisError):
        master = as_map(ask(sentinel, "SENTINEL", "MASTER", shard))
        known = [as_map(found) for found in ask(sentinel, "SENTINEL", "REPLICAS", shard)]
        others = int(master["num-other-sentinels"]) + 1 >= int(master["quorum"])
        up = not any("down" in one["flags"] for one in (master, *known))
        return up and others and len(known) >= replicas
    return False
