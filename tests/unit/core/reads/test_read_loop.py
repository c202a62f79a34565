"""The loop of a read from replicas, run without a network, a clock or an event loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import pytest
import redis

from cachemesh.core.reads.read_loop import CATCH_UP_SECONDS, read_again
from cachemesh.core.reads.read_preference import Reading
from cachemesh.core.resilience.error_classification import NotSentError
from cachemesh.core.resilience.steps import FindMaster, Loop, Read, Send, Sleep
from tests.support.clock import Clock
from tests.support.loops import THERE, GaveUpError, Group, Instance, play

REQUEST = ("GET", "k")
PREFER, ONLY, DRAWN = Reading("prefer_replica"), Reading("replica"), Reading("weighted")


@dataclass
class Replicated(Group):
    """A master, and instances that are read from in this order."""

    order: Sequence[Instance] = ()
    limit: float = 1.0
    patience: int = 0
    failed: list[tuple[Instance, Exception]] = field(default_factory=list)
    hurried: int = 0

    def hurry(self) -> None:
        self.hurried += 1

    def readable(self, reading: Reading, keys: Sequence[bytes], now: float) -> list[Instance]:
        return list(self.order)

    def for_master(self, reading: Reading, instance: Instance, began: float, failed: bool) -> bool:
        return instance is self.instance and not reading.draws

    def may_come(self, began: float, error: Exception | None) -> bool:
        self.patience -= 1
        return self.patience >= 0

    def lacks_script(self, reading: Reading, instance: Instance, reply: Exception) -> bool:
        return isinstance(reply, redis.exceptions.NoScriptError) and not reading.only_replicas

    def note_failed(self, instance: Instance, error: Exception, now: float) -> None:
        self.failed.append((instance, error))

    def raise_unread(self, reading: Reading, error: Exception | None) -> NoReturn:
        raise GaveUpError("no replica") from error


def looped(
    shard: Replicated, clock: Clock, reading: Reading, outcome: Exception | None, began: float = 0.0
) -> Loop:
    candidates = shard.readable(reading, (b"k",), began)
    jitter = 1.0
    return read_again(
        shard, REQUEST, (b"k",), reading, began, candidates, outcome, clock, lambda: jitter
    )


def test_the_next_candidate_is_asked_with_half_of_the_time() -> None:
    clock, first, second = Clock(), Instance(), Instance(THERE)
    shard = Replicated(Instance(), order=[first, second])
    error = ConnectionResetError("reset")
    played = play(looped(shard, clock, PREFER, error), clock, ["v"])
    assert played.reply == "v"
    assert played.steps == [Read(second, REQUEST, 0.5)]
    assert shard.failed == [(first, error)]


def test_after_all_replicas_the_master_is_asked_as_for_any_command() -> None:
    clock, master, replica = Clock(), Instance(), Instance(THERE)
    shard = Replicated(master, order=[replica, master])
    played = play(looped(shard, clock, PREFER, TimeoutError("late")), clock, ["v"])
    assert played.reply == "v"
    assert played.steps == [Send(master, REQUEST, 1.0)]


def test_a_master_that_fails_is_asked_again() -> None:
    clock, master, replica = Clock(), Instance(), Instance(THERE)
    shard = Replicated(master, order=[replica, master])
    outcomes = [ConnectionResetError("reset"), "v"]
    played = play(looped(shard, clock, PREFER, TimeoutError("late")), clock, outcomes)
    assert (played.reply, played.kinds) == ("v", [Send, Send])


def test_a_master_that_nobody_knows_is_sought() -> None:
    clock, replica = Clock(), Instance(THERE)
    shard = Replicated(None, order=[replica])

    def appear() -> None:
        shard.instance = replica

    played = play(looped(shard, clock, PREFER, NotSentError()), clock, ["v"], seek=appear)
    assert (played.reply, played.kinds) == ("v", [FindMaster, Send])


def test_a_master_that_was_drawn_is_one_candidate_among_others() -> None:
    clock, master, replica = Clock(), Instance(), Instance(THERE)
    shard = Replicated(master, order=[replica, master])
    played = play(looped(shard, clock, DRAWN, TimeoutError("late")), clock, ["v"])
    assert played.steps == [Read(master, REQUEST, 0.5)]


def test_a_replica_is_waited_for_where_the_master_is_not_read() -> None:
    clock, replica = Clock(), Instance(THERE)
    shard = Replicated(Instance(), patience=3)

    def caught_up() -> None:
        if shard.hurried == 3:
            shard.order = [replica]

    played = play(looped(shard, clock, ONLY, None), clock, ["v"], wait=caught_up)
    assert played.reply == "v"
    assert played.kinds == [Sleep, Sleep, Sleep, Read]
    assert played.of(Sleep)[0].seconds == CATCH_UP_SECONDS


def test_no_replica_may_come() -> None:
    clock, replica = Clock(), Instance(THERE)
    shard = Replicated(Instance(), order=[replica])
    error = ConnectionResetError("reset")
    played = play(looped(shard, clock, ONLY, error), clock)
    assert isinstance(played.error, GaveUpError)
    assert played.error.__cause__ is error
    assert not played.steps


def test_after_the_deadline_no_other_candidate_is_asked() -> None:
    clock, shard = Clock(), Replicated(Instance(), order=[Instance(), Instance(THERE)])
    clock.now = 2.0
    played = play(looped(shard, clock, ONLY, TimeoutError("late")), clock)
    assert isinstance(played.error, GaveUpError)


@pytest.mark.parametrize("reading", [PREFER, ONLY, DRAWN], ids=lambda r: r.read_from)
def test_an_error_reply_is_the_apps(reading: Reading) -> None:
    clock, shard = Clock(), Replicated(Instance(), order=[Instance(THERE)])
    wrong = redis.ResponseError("WRONGTYPE")
    played = play(looped(shard, clock, reading, wrong), clock)
    assert (played.error, played.steps, shard.failed) == (wrong, [], [])


def test_an_argument_without_a_form_is_the_apps_business() -> None:
    clock, shard = Clock(), Replicated(Instance(), order=[Instance(THERE)])
    wrong = redis.DataError("no form")
    assert play(looped(shard, clock, PREFER, wrong), clock).error is wrong
    assert not shard.failed


def test_a_script_that_a_replica_lacks_is_run_by_the_master() -> None:
    clock, master = Clock(), Instance()
    shard = Replicated(master, order=[Instance(THERE), Instance(THERE)])
    lacking = redis.exceptions.NoScriptError("NOSCRIPT")
    assert play(looped(shard, clock, PREFER, lacking), clock, ["v"]).steps == [
        Send(master, REQUEST, 1.0)
    ]
    assert play(looped(shard, clock, ONLY, lacking), clock).error is lacking


def test_a_reply_that_is_nothing_is_a_reply() -> None:
    clock, shard = Clock(), Replicated(Instance(), order=[Instance(), Instance(THERE)])
    played = play(looped(shard, clock, PREFER, TimeoutError("late")), clock, [None])
    assert (played.reply, played.error, len(played.steps)) == (None, None, 1)
