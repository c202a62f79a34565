"""Turns of threads that signal handlers interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cachemesh.core.migration.pull import Link
from cachemesh.core.names import Address
from cachemesh.transport.sync.puller import Puller
from cachemesh.transport.turns import Turns
from tests.support.waiting import until


def came(turns: Turns, seconds: float = 0.0) -> bool:
    """Return whether a turn comes at once in another thread."""

    def take() -> bool:
        with turns.turn(seconds) as mine:
            return mine

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(take).result()


def test_one_thread_at_a_time_has_its_turn() -> None:
    turns = Turns()
    with turns.turn(float("inf")) as mine:
        assert mine
        assert not came(turns)
        assert not came(turns, 0.01)
        with turns.turn(0.0) as within:  # as a signal handler would
            assert within
        assert not came(turns), "the one around it goes on"
    assert came(turns)


class Interrupted(BaseException):
    """What a signal handler raises."""


class InterruptedLock:
    """A lock within whose acquisition a signal comes: before it is taken, or after that."""

    def __init__(self, taken: bool) -> None:
        self._lock = threading.RLock()
        self._taken = taken
        self.release = self._lock.release

    def acquire(self, timeout: float) -> bool:
        if self._taken:
            self._lock.acquire()
        raise Interrupted


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("lock", ["_next", "_lock"])
def test_an_interrupted_turn_is_over(lock: str, taken: bool) -> None:
    turns: Any = Turns()
    interrupted = InterruptedLock(taken)
    setattr(turns, lock, interrupted)
    with pytest.raises(Interrupted), turns.turn(60.0):
        raise AssertionError("it was interrupted")
    setattr(turns, lock, interrupted._lock)
    assert came(turns)


class Shard:
    """A shard that was interrupted by a signal handler, which pulls another key."""

    def __init__(self) -> None:
        self.kept = {b"key", b"of the handler"}
        self.handler: Any = None

    def ask_apart(self, commands: Sequence[tuple[Any, ...]], *_: Any) -> list[Any]:
        handler, self.handler = self.handler, None
        if handler is not None:
            handler()
        for name, *words in commands:
            if name == "UNLINK":
                self.kept.difference_update(words)
        return [len(words) if name == "EXISTS" else 0 for name, *words in commands]

    def ask_all(self, commands: Sequence[tuple[Any, ...]], _: float) -> list[Any]:
        return [b"PONG"] * len(commands)

    def require_serving(self) -> None:
        """Return: it serves."""


def test_a_signal_handler_that_pulls_a_key_during_a_pull_waits_for_nobody() -> None:
    shard: Any = Shard()
    link = Link(Address("b", 1), 0, 0, 100)
    puller = Puller(shard, shard, lambda _: link)
    shard.handler = lambda: puller.pull({b"of the handler"}, time.monotonic() + 0.05)
    puller.pull({b"key"}, time.monotonic() + 60.0)
    assert not shard.kept


def test_a_thread_that_wants_one_turn_after_another_keeps_nobody_from_theirs() -> None:
    turns, order = Turns(), list[str]()

    def wait() -> None:
        with turns.turn(60.0) as mine:
            assert mine
            order.append("waited")

    def waits() -> bool:
        """Return whether the other thread waits for the end of this thread's turn."""
        if turns._next.acquire(blocking=False):
            turns._next.release()
            return False
        return True

    with ThreadPoolExecutor(1) as threads:
        with turns.turn(60.0):
            waited = threads.submit(wait)
            until(waits)
        with turns.turn(60.0):
            order.append("again")
        waited.result()
    assert order == ["waited", "again"]
