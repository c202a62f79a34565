"""A replica that is said to cover a time really has what was acknowledged before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from cachemesh.core.names import Address
from cachemesh.core.reads.replication_lag import MOST_SAMPLES, NEVER, LagMeter

A, B, C = (Address("127.0.0.1", port) for port in (7001, 7002, 7003))


def meter_at(*samples: tuple[float, int]) -> LagMeter:
    meter = LagMeter()
    meter.follow(A)
    for asked, offset in samples:
        meter.master_at(A, "h", asked, offset)
    return meter


def test_covers_the_newest_sample_it_has_reached() -> None:
    meter = meter_at((1.0, 100), (1.5, 140), (2.0, 190))
    assert meter.covered(B) == NEVER
    for offset, covered in [(99, NEVER), (100, 1.0), (150, 1.5), (190, 2.0), (200, 2.0)]:
        meter.replica_at(B, "h", offset)
        assert meter.covered(B) == covered
    assert meter.covered(C) == NEVER


def test_an_idle_master_is_covered_up_to_its_last_sample() -> None:
    meter = meter_at((1.0, 100), (2.0, 100), (3.0, 100))
    meter.replica_at(B, "h", 100)
    assert meter.covered(B) == 3.0


def test_a_replica_that_fell_back_covers_less() -> None:
    meter = meter_at((1.0, 100), (2.0, 200))
    meter.replica_at(B, "h", 200)
    meter.replica_at(B, "h", 120)
    assert meter.covered(B) == 1.0
    meter.forget(B)
    meter.forget(B)
    assert meter.covered(B) == NEVER


def test_offsets_of_another_history_say_nothing() -> None:
    meter = meter_at((1.0, 100))
    meter.replica_at(B, "other", 500)
    assert meter.covered(B) == NEVER
    meter.replica_at(B, "h", 100)
    meter.replica_at(B, "other", 500)
    assert meter.covered(B) == NEVER


def test_another_history_or_a_shorter_stream_begins_anew() -> None:
    for history, offset in [("other", 100), ("h", 99)]:
        meter = meter_at((1.0, 100))
        meter.replica_at(B, "h", 100)
        meter.master_at(A, history, 2.0, offset)
        assert meter.covered(B) == NEVER
        meter.replica_at(B, history, 100)
        assert meter.covered(B) == 2.0


def test_what_another_master_says_does_not_count() -> None:
    meter = meter_at((1.0, 100))
    meter.replica_at(C, "h", 100)
    meter.follow(A)
    assert meter.covered(C) == 1.0
    meter.follow(B)
    assert meter.covered(C) == NEVER
    meter.master_at(A, "h", 2.0, 120)  # was asked before the failover, or does not know of it
    meter.replica_at(C, "h", 120)
    assert meter.covered(C) == NEVER
    meter.master_at(B, "new", 3.0, 110)
    meter.replica_at(C, "h", 120)
    assert meter.covered(C) == NEVER
    meter.replica_at(C, "new", 110)
    assert meter.covered(C) == 3.0


def test_memory_is_bounded() -> None:
    meter = meter_at(*((float(at), at) for at in range(10 * MOST_SAMPLES)))
    assert len(meter._record.offsets) <= 2 * MOST_SAMPLES
    meter.replica_at(B, "h", 9 * MOST_SAMPLES + 1)
    assert meter.covered(B) == 9 * MOST_SAMPLES + 1
    meter.replica_at(B, "h", 5)
    assert meter.covered(B) == NEVER


@dataclass
class Instance:
    """One server: whose stream it follows, how much of it it has, and what it takes itself for."""

    history: int = 0
    applied: int = 0
    chief: bool = False


class Shard:
    """A simple replication: streams of writes, each with the time at which the app saw it end."""

    def __init__(self) -> None:
        self.instances = {address: Instance() for address in (A, B, C)}
        self.instances[A].chief = True
        self.streams: list[list[tuple[int, float]]] = [[]]  # of sizes and times
        self.master = A
        self.now = 0.0
        self.asked = A, 0.0
        self.meter = LagMeter()
        self.meter.follow(A)

    def offset(self, address: Address) -> int:
        it = self.instances[address]
        return sum(size for size, _ in self.streams[it.history][: it.applied])

    def write(self, _: Address, size: int) -> None:
        it = self.instances[self.master]
        self.streams[it.history].append((size, self.now))
        it.applied += 1

    def apply(self, address: Address, count: int) -> None:
        it = self.instances[address]
        it.applied = min(it.applied + count, len(self.streams[it.history]))

    def resync(self, address: Address, _: int) -> None:
        chief = self.instances[self.master]
        if address != self.master:
            self.instances[address] = Instance(chief.history, chief.applied)

    def restart_with_less(self, address: Address, count: int) -> None:
        it = self.instances[address]
        it.applied = max(0, it.applied - count)
        if it.chief:
            self.begin_history(it)
        else:
            self.meter.forget(address)

    def fail_over(self, address: Address, _: int) -> None:
        it = self.instances[address]
        if not it.chief:
            self.begin_history(it)
            self.master = address
            self.meter.follow(address)

    def begin_history(self, it: Instance) -> None:
        self.streams.append(self.streams[it.history][: it.applied])
        it.history, it.chief = len(self.streams) - 1, True

    def ask_master(self, address: Address, _: int) -> None:
        if self.instances[address].chief:  # or so it thinks
            self.asked = address, self.now

    def master_answers(self, _: Address, __: int) -> None:
        address, at = self.asked
        history = self.instances[address].history
        self.meter.master_at(address, str(history), at, self.offset(address))

    def ask_replicas(self, _: Address, __: int) -> None:
        for address, it in self.instances.items():
            if not it.chief:
                self.meter.replica_at(address, str(it.history), self.offset(address))

    def check(self) -> None:
        chief = self.instances[self.master]
        stream = self.streams[chief.history][: chief.applied]
        for address, it in self.instances.items():
            covered = self.meter.covered(address)
            owed = [write for write in stream if write[1] < covered]
            has = self.streams[it.history][: it.applied]
            assert has[: len(owed)] == owed, (address, covered)


ACTIONS = st.tuples(
    st.sampled_from(
        [
            *(Shard.write, Shard.write, Shard.apply, Shard.apply, Shard.ask_replicas),
            *(Shard.ask_master, Shard.master_answers, Shard.ask_master, Shard.master_answers),
            *(Shard.resync, Shard.restart_with_less, Shard.fail_over),
        ]
    ),
    st.sampled_from([A, B, C]),
    st.integers(1, 2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, min_size=10, max_size=50))
def test_what_is_covered_has_been_applied(
    actions: list[tuple[Callable[[Shard, Address, int], None], Address, int]],
) -> None:
    shard = Shard()
    for act, address, number in actions:
        shard.now += 1.0
        act(shard, address, number)
        shard.check()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 300))
def test_no_less_is_covered_than_could_be(sizes: list[int], offset: int) -> None:
    """The newest sample that the replica has reached, found the slow way."""
    samples, end = [], 0
    for at, size in enumerate(sizes):
        end += size
        samples.append((float(at), end))
    meter = meter_at(*samples)
    meter.replica_at(B, "h", offset)
    assert meter.covered(B) == max((t for t, end in samples if end <= offset), default=NEVER)
