"""Random faults, several at a time, under load; what is promised holds throughout.

Takes a few seconds by default. CHAOS_SECONDS makes it longer, and CHAOS_SEED repeats the order of
the faults of a run: `scripts/chaos --minutes 30 --seed 7`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import redis

from benchmarks.failover.site import Site, ask, site
from cachemesh.core.errors import LocalStackError
from cachemesh.local import Process
from tests.support.client_load import ClientLoad, fails_over_alone, heal, verify

SECONDS = float(os.environ.get("CHAOS_SECONDS", "8"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
_ROUND = 30.0  # seconds of load before everything written is looked up


class Mischief:
    """Random faults of one shard and of the Sentinels.

    Attributes:
        log: names of the faults so far.
    """

    def __init__(self, here: Site, shard: str, dice: random.Random) -> None:
        self._here = here
        self._shard = shard
        self._dice = dice
        self._frozen: list[Process] = []
        self.log: list[str] = []

    def one(self) -> None:
        """Cause a fault, and wait a moment."""
        acts: list[Callable[[], None]] = [
            self._kill,
            self._freeze,
            self._thaw,
            self._revive,
            self._fail_over,
            self._hang_up,
            self._pause_clients,
            self._kill_sentinel,
        ]
        act = self._dice.choice(acts)
        self.log.append(act.__name__.lstrip("_"))
        with suppress(redis.RedisError, LocalStackError):  # what it is done to may be down
            act()
        time.sleep(self._dice.uniform(0.2, 2.0))

    def thaw_all(self) -> None:
        """Resume all stopped processes."""
        for process in self._frozen:
            process.resume()
        self._frozen.clear()

    def _any_instance(self) -> Process:
        return self._here.stack.process(self._dice.choice(self._here.instances(self._shard)))

    def _kill(self) -> None:
        self._any_instance().kill()

    def _freeze(self) -> None:
        process = self._any_instance()
        process.pause()
        self._frozen.append(process)

    def _thaw(self) -> None:
        self.thaw_all()

    def _revive(self) -> None:
        process = self._any_instance()
        if process.poll() is not None:
            process.spawn()

    def _fail_over(self) -> None:
        sentinel = self._dice.choice(self._here.stack.info["sentinels"])
        ask(sentinel, "SENTINEL", "FAILOVER", self._shard)

    def _hang_up(self) -> None:
        ask(self._here.stack.master_of(self._shard), "CLIENT", "KILL", "TYPE", "normal")

    def _pause_clients(self) -> None:
        mode = self._dice.choice(["ALL", "WRITE"])
        master = self._here.stack.master_of(self._shard)
        ask(master, "CLIENT", "PAUSE", self._dice.randint(50, 1500), mode)

    def _kill_sentinel(self) -> None:
        process = self._here.stack.process(self._dice.choice(self._here.stack.info["sentinels"]))
        process.kill()
        process.spawn()


@pytest.mark.timeout(SECONDS * 2 + 600)
def test_faults_at_random() -> None:
    print(f"\n  CHAOS_SEED={SEED}")  # noqa: T201  # to repeat it
    dice = random.Random(SEED)
    end = time.monotonic() + SECONDS
    with site(3, replicas=2) as here:
        while time.monotonic() < end:
            shard = dice.choice(here.shards)
            _one_round(here, shard, dice, min(end, time.monotonic() + _ROUND))


def _one_round(here: Site, shard: str, dice: random.Random, end: float) -> None:
    fails_over_alone(here, shard)
    mischief = Mischief(here, shard, dice)
    load = ClientLoad(here)
    try:
        load.warm()
        while time.monotonic() < end:
            mischief.one()
        mischief.thaw_all()
        heal(here)
        load.await_recovery()
        verify(load.stop(), hit=shard)
    except AssertionError as error:
        raise AssertionError(
            f"CHAOS_SEED={SEED}, faults on {shard}: {', '.join(mischief.log)}: {error}"
        ) from error
    finally:
        mischief.thaw_all()
        load.end()
