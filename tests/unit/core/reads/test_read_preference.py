"""Who answers a read: never a replica that may lack something, and the rest in proportion."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemesh.core.errors import ConfigurationError
from cachemesh.core.names import Address
from cachemesh.core.reads.load_weights import LoadWindow
from cachemesh.core.reads.read_preference import READ_FROM, Reading, order
from cachemesh.core.reads.recent_writes import RecentWrites
from cachemesh.core.reads.replication_lag import NEVER
from cachemesh.core.resilience.circuit_breaker import FAILURES, Breaker

NOW = 1000.0


@dataclass(eq=False)
class Instance:
    port: int
    covers: float = NEVER
    breaker: Breaker = field(default_factory=Breaker)
    window: LoadWindow = field(default_factory=LoadWindow)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def broken(self) -> Instance:
        for _ in range(FAILURES):
            self.breaker.failed(NOW)
        return self

    def failing(self) -> Instance:
        self.window.failed(NOW)
        return self

    def slow(self, seconds: float) -> Instance:
        self.window.succeeded(NOW, seconds)
        return self


def ordered(
    reading: Reading,
    master: Instance | None,
    replicas: list[Instance],
    written_at: float = NEVER,
    chance: float = 0.0,
) -> list[Instance]:
    known = {replica.address: replica.covers for replica in replicas}
    return order(reading, master, replicas, known.__getitem__, written_at, NOW, chance)


@pytest.mark.parametrize("read_from", READ_FROM)
def test_settings_that_are_right(read_from: str) -> None:
    assert Reading(read_from, 0.5).uses_replicas == (read_from != "master")
    assert Reading() == Reading("master", None)


@pytest.mark.parametrize(
    ("read_from", "max_lag"),
    [("slave", None), ("", None), (None, None), ("replica", 0), ("replica", -1)]
    + [("replica", lag) for lag in ("1", True, float("nan"), float("inf"))],
)
def test_settings_that_are_wrong(read_from: Any, max_lag: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"(read_from|max_lag) is"):
        Reading(read_from, max_lag)


def test_measuring_often_enough() -> None:
    lags = (None, 60, 1.0, 0.4, 0.001)
    intervals = [Reading("prefer_replica", lag).probe_interval for lag in lags]
    assert intervals == [0.5, 0.5, 0.25, 0.1, 0.05]
    intervals = [Reading("replica", lag).probe_interval for lag in lags]
    assert intervals == [0.1, 0.1, 0.1, 0.1, 0.05], "own writes are waited for"


def test_master_only() -> None:
    master, replica = Instance(1), Instance(2)
    assert ordered(Reading(), master, [replica]) == [master]
    assert ordered(Reading(), master.broken(), [replica]) == []
    assert ordered(Reading(), None, [replica]) == []


def test_replica_never_asks_the_master() -> None:
    master, one, two = Instance(1), Instance(2), Instance(3)
    reading = Reading("replica")
    assert ordered(reading, master, []) == []
    assert ordered(reading, master, [one, two], chance=0.4) == [one, two]
    assert ordered(reading, master, [one, two], chance=0.6) == [two, one]
    assert ordered(reading, master, [one.broken(), two]) == [two]
    assert ordered(reading, master, [one, two.broken()]) == []


def test_prefer_replica_falls_back() -> None:
    master, one, two = Instance(1), Instance(2), Instance(3)
    reading = Reading("prefer_replica")
    assert ordered(reading, master, []) == [master]
    assert ordered(reading, master, [one, two]) == [one, two, master]
    assert ordered(reading, master, [one.failing(), two]) == [two, one, master]
    assert ordered(reading, master, [one, two.broken()]) == [one, master]
    assert ordered(reading, master.broken(), [one]) == [one]


def test_lag_and_own_writes() -> None:
    master, behind, close = Instance(1), Instance(2, NOW - 5), Instance(3, NOW - 1)
    unknown = Instance(4)
    replicas = [behind, close, unknown]

    def asked(max_lag: float | None, written_at: float) -> list[Instance]:
        return ordered(Reading("replica", max_lag), master, replicas, written_at)

    assert asked(None, NEVER) == [behind, close, unknown]
    assert asked(2.0, NEVER) == [close]
    assert asked(6.0, NEVER) == [behind, close]
    assert asked(0.5, NEVER) == []
    assert asked(None, NOW - 6) == [behind, close]
    assert asked(None, NOW - 5) == [close]  # covered are writes before, not at that time
    assert asked(None, NOW) == []
    assert asked(6.0, NOW - 3) == [close]


def test_the_draw_is_in_proportion_to_weights() -> None:
    master, fast, slow = Instance(1).slow(0.002), Instance(2).slow(0.001), Instance(3).slow(0.004)
    draws = 7000
    firsts = Counter(
        ordered(Reading("weighted"), master, [fast, slow], chance=at / draws)[0].port
        for at in range(draws)
    )
    assert {port: count / draws for port, count in firsts.items()} == pytest.approx(
        {1: 2 / 7, 2: 4 / 7, 3: 1 / 7}, abs=0.001
    )
    assert ordered(Reading("weighted"), master, [fast, slow], chance=0.999) == [slow, fast, master]


def test_who_failed_is_drawn_by_nobody_but_stays_a_last_resort() -> None:
    master, replica = Instance(1), Instance(2)
    replica.failing()
    for at in range(100):
        assert ordered(Reading("weighted"), master, [replica], chance=at / 100) == [master, replica]
    master.failing()
    firsts = Counter(
        ordered(Reading("weighted"), master, [replica], chance=at / 100)[0].port
        for at in range(100)
    )
    assert firsts == {1: 50, 2: 50}


CHANCES = st.floats(0, 1, exclude_max=True)
INSTANCES = st.builds(
    lambda covers, broken, failing, slow: (covers, broken, failing, slow),
    st.one_of(st.just(NEVER), st.floats(NOW - 20, NOW)),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0.0001, 1),
)


def made(port: int, what: tuple[float, bool, bool, float | None]) -> Instance:
    covers, broken, failing, slow = what
    instance = Instance(port, covers)
    if slow is not None:
        instance.slow(slow)
    if failing:
        instance.failing()
    return instance.broken() if broken else instance


@given(
    st.sampled_from(READ_FROM),
    st.none() | st.floats(0.01, 30),
    st.none() | INSTANCES,
    st.lists(INSTANCES, max_size=5),
    st.one_of(st.just(NEVER), st.floats(NOW - 20, NOW)),
    CHANCES,
)
def test_whatever_the_state(
    read_from: str,
    max_lag: float | None,
    master_is: tuple[float, bool, bool, float | None] | None,
    replicas_are: list[tuple[float, bool, bool, float | None]],
    written_at: float,
    chance: float,
) -> None:
    master = None if master_is is None else made(1, master_is)
    replicas = [made(2 + at, what) for at, what in enumerate(replicas_are)]
    found = ordered(Reading(read_from, max_lag), master, replicas, written_at, chance)
    assert len(set(map(id, found))) == len(found)
    assert all(instance.breaker.closed for instance in found)
    for instance in found:
        if instance is not master:
            assert read_from != "master"
            assert written_at == NEVER or instance.covers > written_at
            assert max_lag is None or NOW - instance.covers <= max_lag
        else:
            assert read_from != "replica"
    if master is not None and master.breaker.closed and read_from != "replica":
        assert master in found
    for replica in replicas:
        fits = max_lag is None and written_at == NEVER and replica.breaker.closed
        assert replica in found or not fits or read_from == "master"


@given(st.lists(st.binary(max_size=8), min_size=1), st.sampled_from([1, 2, 64, 16_384]))
def test_a_write_is_never_forgotten(keys: list[bytes], places: int) -> None:
    pins = RecentWrites(places)
    last: dict[bytes, float] = {}
    for at, key in enumerate(keys):
        pins.wrote(key, float(at))
        last[key] = float(at)
    assert all(pins.written_at(key) >= at for key, at in last.items())


def test_keys_not_written_are_free_as_a_rule() -> None:
    pins = RecentWrites()
    for at in range(160):
        pins.wrote(b"written-%d" % at, NOW)
    pinned = sum(pins.written_at(b"other-%d" % at) != NEVER for at in range(10_000))
    assert pinned < 300  # 1 % of the places are taken
    pins.wrote_anywhere(NOW + 1)
    assert pins.written_at(b"other-1") == pins.written_at(b"written-1") == NOW + 1
