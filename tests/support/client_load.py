"""Both clients under load on one stack while something goes wrong, and what is promised then."""

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
from benchmarks.failover.trial import PAUSE
from benchmarks.failover.writer import Writer
from tests.support.waiting import AT_MOST

CLIENTS = ("cachemesh", "cachemesh-asyncio")
_PATIENT, _HASTY = 600_000, 1_000  # down-after-milliseconds


class Storm:
    """Two writers on each shard for each client: threads on one, tasks on the other.

    Attributes:
        began: monotonic.
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
        return [writer for load in self._loads.values() for writer in load.writers]

    def warm(self) -> None:
        for load in self._loads.values():
            load.warm(AT_MOST)

    def await_writes(self, *shards: str) -> None:
        """Wait until every writer of these shards (none: all) has a new write acknowledged."""
        since = time.monotonic()
        wanted = [writer for writer in self.writers if not shards or writer.shard in shards]

        def recovered() -> bool:
            return all(w.acknowledged and w.acknowledged[-1].started > since for w in wanted)

        wait_for(recovered, AT_MOST, f"no writes get through on {shards or 'any shard'} again")

    def await_recovery(self) -> None:
        """Wait until new writes of every writer stand on the master that Sentinel names."""
        for shard in self.site.shards:
            master = direct(str(self.site.settle(shard)))
            try:
                for writer in self.writers:
                    if writer.shard == shard:
                        _await_arrival(master, writer)
            finally:
                master.close()

    def end(self) -> None:
        """Stop without looking at what was written; for when something else went wrong."""
        for load in self._loads.values():
            with suppress(AssertionError):  # what went wrong first is what counts
                load.stop()

    def stop(self) -> dict[str, dict[str, Outcome]]:
        """Client -> shard -> outcome. Raises AssertionError: a writer hangs."""
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
    """Sentinels call masters of this shard down soon, and of all others never.

    Those would else be called down where the machine, and not a fault, keeps them from answering.
    """
    for sentinel in site.stack.info["sentinels"]:
        for name in site.shards:
            value = _HASTY if name == shard else _PATIENT
            words = ("SENTINEL", "SET", name, "down-after-milliseconds", value)
            ask(sentinel, *words, timeout=AT_MOST)


@contextmanager
def storm(
    site: Site, hit: str | None = None, lossless: bool = False, failover: bool = True
) -> Iterator[Storm]:
    """Load around the block; then all that is promised is asserted, and the rest printed.

    Args:
        hit: the shard where something goes wrong; None: nothing that an app may notice does.
        lossless: on that shard, too, no acknowledged write may be lost.
        failover: Sentinels may fail it over without being told to.
    """
    fails_over_alone(site, hit if failover and not lossless else None)
    running = Storm(site)
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
    """Raises AssertionError where a promise is broken; prints what is not promised."""
    for client, outcomes in found.items():
        for shard, outcome in outcomes.items():
            where = f"{client} on {shard}"
            assert outcome.wrong == 0, (where, outcome.examples)
            if shard != hit:
                harm = outcome.lost + outcome.missed + outcome.stale + outcome.error_count
                assert harm == 0, f"nothing failed there: {where}: {outcome}"
                continue
            print(  # noqa: T201  # the figures, for whoever looks
                f"\n  {where}: {outcome.acknowledged:,} acknowledged, {outcome.lost:,} lost, "
                f"{outcome.missed} missed, {outcome.stale} stale, errors {outcome.errors}, "
                f"gap {outcome.gaps[shard]:.2f} s"
            )
            if lossless:
                lost = outcome.lost + outcome.missed + outcome.stale
                assert lost == 0, f"nothing may be lost: {where}: {outcome}"


def heal(site: Site) -> None:
    """Every process runs again, every shard has one master and all of its replicas."""
    for process in site.stack.processes:
        process.resume()
        if process.poll() is not None:
            process.spawn()
    for shard in site.shards:
        await_whole(site, shard)


def await_whole(site: Site, shard: str) -> None:
    """Wait until the shard has one master with its replicas, and Sentinels that see them all."""
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
    """Whether it is a connected replica of that master; told to be one if it is not.

    Sentinel would tell it too, but takes 10 s.
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
