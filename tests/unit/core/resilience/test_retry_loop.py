"""The loops that send a request again, run without a network, a clock or an event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import redis

from cachemesh.core.resilience.circuit_breaker import FAILURES
from cachemesh.core.resilience.error_classification import (
    BreakerOpenError,
    Failure,
    NotSentError,
    WrongRoleError,
    failure_of,
)
from cachemesh.core.resilience.replica_patience import PATIENCE
from cachemesh.core.resilience.retry_loop import RetryLoop
from cachemesh.core.resilience.steps import FindMaster, Send, WaitForMaster
from tests.support.clock import Clock
from tests.support.loops import HERE, THERE, GaveUpError, Group, Instance, Sound, play

REQUEST = ("SET", "k", "v")
DEADLINE = 10.0

ERRORS: dict[Failure, Callable[[], Exception]] = {
    Failure.NOT_SENT: lambda: NotSentError("refused"),
    Failure.NOT_MASTER: lambda: redis.ReadOnlyError("You can't write"),
    Failure.NOT_READY: lambda: redis.exceptions.BusyLoadingError("loading"),
    Failure.BROKEN: lambda: ConnectionResetError("reset"),
    Failure.NO_REPLY: lambda: TimeoutError("late"),
    Failure.LACKS_REPLICAS: lambda: redis.ResponseError("NOREPLICAS Not enough good replicas"),
}
MAY_HAVE_RUN = (Failure.BROKEN, Failure.NO_REPLY)


def looped(
    shard: Group, clock: Clock, retriable: bool, deadline: float = DEADLINE, blocks: float = 0.0
) -> RetryLoop[Instance]:
    return RetryLoop(shard, retriable, deadline, clock, lambda: 1.0, blocks)


@pytest.mark.parametrize(("failure", "retriable"), list(product(Failure, (False, True))))
def test_after_one_failure(failure: Failure, retriable: bool) -> None:
    """What has not run is sent again; what may have run only where that does no harm."""
    node, clock = Instance(), Clock()
    shard = Group(node)
    error = ERRORS[failure]()
    assert failure_of(error) is failure
    played = play(looped(shard, clock, retriable).again(REQUEST, node, error), clock, ["OK"])
    again = retriable or failure not in MAY_HAVE_RUN
    assert played.reply == ("OK" if again else None)
    assert isinstance(played.error, GaveUpError) is not again
    assert shard.given_up == ([] if again else [(node, error)])
    sought = [] if failure is Failure.BROKEN else [FindMaster(node, error, DEADLINE)]
    assert played.of(FindMaster) == sought
    assert played.of(Send) == ([Send(node, REQUEST, DEADLINE)] if again else [])
    assert not played.of(WaitForMaster), "the second attempt comes at once"
    told = failure in (Failure.NO_REPLY, Failure.NOT_READY)
    assert node.failures == ([failure] if told else [])
    assert node.closed_idle == (failure is Failure.NOT_MASTER)


@pytest.mark.parametrize(
    "failure", [f for f in Failure if f not in (*MAY_HAVE_RUN, Failure.LACKS_REPLICAS)]
)
def test_what_never_runs_is_sent_until_the_deadline(failure: Failure) -> None:
    node, clock = Sound(), Clock()
    shard = Group(node)
    loop = looped(shard, clock, False).again(REQUEST, node, ERRORS[failure]())
    played = play(loop, clock, [ERRORS[failure]()])
    assert isinstance(played.error, GaveUpError)
    assert 9.0 < clock.now <= DEADLINE + 0.1
    delays = [wait.seconds for wait in played.of(WaitForMaster)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert max(delays) == 0.1
    assert {wait.seen for wait in played.of(WaitForMaster)} == {HERE}
    assert not [send for send in played.of(Send) if send.seconds > DEADLINE]


@pytest.mark.parametrize("failure", MAY_HAVE_RUN)
def test_what_may_have_run_is_sent_at_most_three_times(failure: Failure) -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node), clock, True).again(REQUEST, node, ERRORS[failure]())
    played = play(loop, clock, [ERRORS[failure]()])
    assert isinstance(played.error, GaveUpError)
    assert len(played.of(Send)) == 2, "the first attempt was made before"


@pytest.mark.parametrize("failure", [f for f in Failure if f is not Failure.BROKEN])
def test_another_master_is_asked_at_once(failure: Failure) -> None:
    former, new, clock = Instance(), Instance(THERE), Clock()
    shard = Group(former)

    def move() -> None:
        shard.instance = new

    loop = looped(shard, clock, True).again(REQUEST, former, ERRORS[failure]())
    played = play(loop, clock, ["OK"], seek=move)
    assert played.reply == "OK"
    assert played.kinds == [FindMaster, Send]
    assert played.of(Send)[0].instance is new
    assert former.closed_idle == (failure is Failure.NOT_MASTER)


def test_a_master_that_moved_meanwhile_is_not_sought() -> None:
    former, new, clock = Instance(), Instance(THERE), Clock()
    former.open()
    loop = looped(Group(new), clock, False).again(REQUEST, former, NotSentError())
    played = play(loop, clock, ["OK"])
    assert played.kinds == [Send]
    assert played.of(Send)[0].instance is new, "the breaker of the former one does not count"


@pytest.mark.parametrize("failure", Failure)
def test_an_open_breaker_ends_it(failure: Failure) -> None:
    node, clock = Instance(), Clock()
    node.open()
    shard = Group(node)
    error = ERRORS[failure]()
    played = play(looped(shard, clock, True).again(REQUEST, node, error), clock, ["OK"])
    assert shard.given_up == [(node, error)]
    assert not played.of(Send)
    assert bool(played.of(FindMaster)) is (failure is not Failure.BROKEN)


def test_a_breaker_that_opens_meanwhile_ends_it() -> None:
    node, clock = Instance(), Clock()
    loading = ERRORS[Failure.NOT_READY]
    played = play(
        looped(Group(node), clock, False).again(REQUEST, node, loading()), clock, [loading()]
    )
    assert isinstance(played.error, GaveUpError)
    assert len(node.failures) == FAILURES
    assert clock.now < 1.0


def test_nobody_knows_a_master_until_the_deadline() -> None:
    clock = Clock()
    shard = Group(None)
    played = play(looped(shard, clock, False).again(REQUEST, None, NotSentError()), clock)
    assert isinstance(played.error, GaveUpError)
    assert shard.given_up[-1][0] is None
    assert not played.of(Send)
    assert 9.0 < clock.now <= DEADLINE
    assert {wait.seen for wait in played.of(WaitForMaster)} == {None}


def test_a_master_that_is_known_at_last_is_asked() -> None:
    clock, node = Clock(), Instance()
    shard = Group(None)

    def appear() -> None:
        shard.instance = node

    loop = looped(shard, clock, False).again(REQUEST, None, NotSentError())
    played = play(loop, clock, ["OK"], wait=appear)
    assert played.reply == "OK"
    assert played.kinds == [FindMaster, FindMaster, WaitForMaster, Send]


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("WRONGTYPE"),
        redis.AuthenticationError("NOAUTH"),
        redis.DataError("form"),
    ],
    ids=repr,
)
def test_what_is_about_the_command_itself_is_raised(error: Exception) -> None:
    node, clock = Instance(), Clock()
    shard = Group(node)
    played = play(looped(shard, clock, True).again(REQUEST, node, error), clock)
    assert played.error is error
    assert (played.steps, shard.given_up) == ([], [])
    again = play(looped(shard, clock, True).again(REQUEST, node, TimeoutError()), clock, [error])
    assert again.error is error, "also where a later attempt gets it"


@pytest.mark.parametrize("error", [MemoryError(), NotSentError()], ids=repr)
def test_no_memory_and_a_refused_login_are_not_tried_again(error: Exception) -> None:
    node, clock = Instance(), Clock()
    if isinstance(error, NotSentError):
        error.__cause__ = redis.AuthenticationError("WRONGPASS")
    played = play(looped(Group(node), clock, True).again(REQUEST, node, error), clock, ["OK"])
    assert isinstance(played.error, GaveUpError)
    assert played.steps == []


@pytest.mark.parametrize("failure", Failure)
def test_nothing_is_sent_again_after_the_client_was_closed(failure: Failure) -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node, ended=True), clock, True).again(REQUEST, node, ERRORS[failure]())
    played = play(loop, clock, ["OK"])
    assert played.error is not None
    assert played.steps == []


def test_a_reply_that_is_nothing_is_a_reply() -> None:
    node, clock = Instance(), Clock()
    played = play(
        looped(Group(node), clock, True).again(REQUEST, node, TimeoutError()), clock, [None]
    )
    assert (played.reply, played.error, len(played.of(Send))) == (None, None, 1)


def test_a_command_that_blocks_has_its_own_time_on_top() -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node), clock, False, blocks=30.0).again(REQUEST, node, NotSentError())
    assert play(loop, clock, ["OK"]).of(Send)[0].seconds == DEADLINE + 30.0


def test_a_write_that_was_refused_and_then_lost_is_not_sent_a_third_time() -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node), clock, False).again(REQUEST, node, redis.ReadOnlyError(""))
    played = play(loop, clock, [ConnectionResetError("reset")])
    assert isinstance(played.error, GaveUpError)
    assert len(played.of(Send)) == 1


def test_an_interruption_ends_the_loop() -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node), clock, True).again(REQUEST, node, TimeoutError())
    assert isinstance(loop.send(None), FindMaster)
    assert isinstance(loop.send(None), Send)
    with pytest.raises(KeyboardInterrupt):
        loop.throw(KeyboardInterrupt())
    with pytest.raises(StopIteration):
        loop.send("OK")


@dataclass
class Queued:
    """A pipeline's part; replies that are `redis.ReadOnlyError` have not run."""

    commands: Sequence[str]
    retriable: bool = False

    @property
    def decode(self) -> Sequence[bool]:
        return [True] * len(self.commands)

    def payload(self) -> bytes:
        return " ".join(self.commands).encode()

    def undone(self, replies: Sequence[Any]) -> Sequence[int]:
        return [at for at, r in enumerate(replies) if isinstance(r, redis.ReadOnlyError)]

    def only(self, places: Sequence[int]) -> Queued:
        return Queued([self.commands[place] for place in places], self.retriable)


REFUSED = redis.ReadOnlyError("You can't write")


def test_only_the_leftovers_of_a_pipeline_are_sent_again() -> None:
    node, clock = Instance(), Clock()
    wrong = redis.ResponseError("WRONGTYPE")
    part = Queued(["a", "b", "c", "d"])
    loop = looped(Group(node), clock, False).rest_again(part, node, [1, REFUSED, wrong, REFUSED])
    played = play(loop, clock, [[2, REFUSED], [4]])
    assert played.reply == [1, 2, wrong, 4]
    assert [list(send.request.commands) for send in played.of(Send)] == [["b", "d"], ["d"]]
    assert node.closed_idle == 2


def test_error_replies_of_a_pipeline_are_left_to_the_app() -> None:
    node, clock = Instance(), Clock()
    replies = [1, redis.ResponseError("WRONGTYPE")]
    played = play(
        looped(Group(node), clock, False).rest_again(Queued(["a", "b"]), node, replies), clock
    )
    assert (played.reply, played.steps) == (replies, [])


@pytest.mark.parametrize(("failure", "retriable"), list(product(Failure, (False, True))))
def test_a_part_that_got_no_replies(failure: Failure, retriable: bool) -> None:
    node, clock = Instance(), Clock()
    part = Queued(["a", "b"], retriable)
    loop = looped(Group(node), clock, retriable).rest_again(part, node, ERRORS[failure]())
    played = play(loop, clock, [[1, 2]])
    if retriable or failure not in MAY_HAVE_RUN:
        assert played.reply == [1, 2]
    else:
        assert isinstance(played.reply, GaveUpError), "returned, for other parts have replies"


def test_a_master_that_lacks_replicas_is_waited_for_once() -> None:
    node, clock = Sound(), Clock()
    shard = Group(node)
    lacking = ERRORS[Failure.LACKS_REPLICAS]()
    played = play(looped(shard, clock, False).again(REQUEST, node, lacking), clock, [lacking])
    assert played.error is lacking, "the app sees what the master says"
    assert PATIENCE <= clock.now < PATIENCE + 0.2
    played = play(looped(shard, clock, False).again(REQUEST, node, lacking), clock, [lacking])
    assert (played.error, played.steps) == (lacking, []), "it is known to go on"


def test_a_pipeline_keeps_the_replies_of_a_master_that_lacks_replicas() -> None:
    node, clock = Sound(), Clock()
    lacking = ERRORS[Failure.LACKS_REPLICAS]()
    loop = looped(Group(node), clock, False).rest_again(Queued(["a", "b"]), node, [1, lacking])
    assert play(loop, clock, [[lacking]]).reply == [1, lacking]


def test_leftovers_that_cannot_be_sent_have_the_reason_in_their_places() -> None:
    node, clock = Instance(), Clock()
    node.open()
    loop = looped(Group(node), clock, False).rest_again(Queued(["a", "b"]), node, [1, REFUSED])
    first, second = play(loop, clock).reply
    assert first == 1
    assert isinstance(second, GaveUpError)


def test_a_failure_of_the_leftovers_leaves_the_first_replies() -> None:
    node, clock = Instance(), Clock()
    loop = looped(Group(node), clock, False).rest_again(Queued(["a", "b"]), node, [1, REFUSED])
    first, second = play(loop, clock, [ConnectionResetError("reset")]).reply
    assert first == 1
    assert isinstance(second, GaveUpError)


def test_a_wrong_role_is_a_refusal() -> None:
    refused, open_ = NotSentError(), BreakerOpenError()
    refused.__cause__ = WrongRoleError("a replica", THERE)
    assert failure_of(refused) is Failure.NOT_MASTER
    assert failure_of(open_) is Failure.NOT_SENT
