"""Calls of either kind of client that are interrupted, at every point in turn, and those after.

Threads are interrupted by what a signal handler raises, tasks by being cancelled.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import cachemesh
from tests.support.both_clients import Caller
from tests.support.movable_pool import MovablePool
from tests.support.self_identifying_calls import WAYS, Way, keys_of
from tests.support.waiting import AT_MOST

HOME = str(Path(cachemesh.__file__).parent)


class InterruptError(BaseException):
    """What the signal handler raises."""


class Signalled:
    """Interrupts this thread after so many steps within the client."""

    def __init__(self, call: Caller, steps: int) -> None:
        self.left = steps

    def __enter__(self) -> None:
        sys.settrace(self)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        self.left -= 1
        if self.left == 0:
            sys.settrace(None)
            raise InterruptError
        return self


class Tasks(Caller):
    """Whose tasks are cancelled where `wait` says so."""

    wait: Callable[[Any], None] | None = None

    def on(self, mesh: Any, use: Callable[[Any], Any], seconds: float = AT_MOST) -> Any:
        wait = self.wait
        if wait is None:
            return super().on(mesh, use, seconds)
        return super().on(mesh, lambda it: Watched(use(it), wait), seconds)


class Watched:
    """An awaitable that tells before each wait what it waits for."""

    def __init__(self, work: Any, wait: Callable[[Any], None]) -> None:
        self._work, self._wait = work, wait

    def __await__(self) -> Generator[Any, Any, Any]:
        if not hasattr(self._work, "__await__"):
            return self._work
        steps = self._work.__await__()
        try:
            awaited = next(steps)
            while True:
                self._wait(awaited)
                try:
                    yield awaited
                except asyncio.CancelledError as error:
                    awaited = steps.throw(error)
                else:
                    awaited = next(steps)
        except StopIteration as done:
            return done.value


class Cancelled:
    """Cancels a call in its n-th wait."""

    def __init__(self, call: Tasks, steps: int) -> None:
        self.call, self.left = call, steps

    def __enter__(self) -> None:
        self.call.wait = self.wait

    def __exit__(self, *_: object) -> None:
        self.call.wait = None

    def wait(self, awaited: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.cancel(awaited)

    def cancel(self, awaited: Any) -> None:
        """As it begins."""
        _me().cancel()


class CancelledLate(Cancelled):
    """As what it waits for is there, before it has got it."""

    def cancel(self, awaited: Any) -> None:
        me = _me()
        if awaited is None:
            me.cancel()
        else:
            awaited.add_done_callback(lambda _: me.cancel())


class CancelledInTurn(Cancelled):
    """Cancels after so many turns of the loop instead, wherever parts of the call are by then."""

    task: asyncio.Task[Any] | None = None

    def wait(self, awaited: Any) -> None:
        if self.task is not _me():
            self.task = _me()
            self.turn(self.task)

    def turn(self, task: asyncio.Task[Any]) -> None:
        self.left -= 1
        if self.left == 0:
            task.cancel()
        elif self.left > 0 and not task.done():
            task.get_loop().call_soon(self.turn, task)


def _me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


HOW: dict[str, tuple[str, Any]] = {
    "by a signal": ("sync", Signalled),
    "cancelled": ("asyncio", Cancelled),
    "cancelled late": ("asyncio", CancelledLate),
    "cancelled in turn": ("asyncio", CancelledInTurn),
}
MOST = 10_000  # steps of a call


@contextmanager
def calling(kind: str, site: MovablePool) -> Iterator[Caller]:
    make = Caller if kind == "sync" else Tasks
    caller = make(kind, site.url, command_timeout=AT_MOST, connect_timeout=AT_MOST)
    try:
        yield caller
    finally:
        caller.close()


def interrupted(interrupt: Any, send: Way, call: Caller, mesh: Any, keys: tuple[str, str]) -> int:
    """Interrupt a call at each of its steps in turn; the number of those. Calls after are right.

    One that goes on all the same is right as well: before Python 3.12 a cancellation may be lost
    while redis-py's own connections send.
    """
    for steps in range(1, MOST):
        point = interrupt(call, steps)
        try:
            with point:
                assert send(call, mesh, keys, 2 * steps)
        except (InterruptError, concurrent.futures.CancelledError):
            pass
        assert send(call, mesh, keys, 2 * steps + 1), f"interrupted at step {steps}"
        if point.left > 0:
            return steps - 1
    raise AssertionError("it does not end")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a __del__
@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("how", HOW)
def test_the_next_call_gets_its_own_reply(site: MovablePool, how: str, view: bool) -> None:
    kind, interrupt = HOW[how]
    keys = keys_of(site)
    with calling(kind, site) as call:
        mesh = call.mesh.with_options(retry_writes=True, on_error="miss") if view else call.mesh
        for name, send in WAYS.items():
            assert send(call, mesh, keys, 0)
            assert interrupted(interrupt, send, call, mesh, keys) > 0, name


def test_a_closed_connection_is_not_used_though_another_has_its_number(site: MovablePool) -> None:
    with calling("sync", site) as call, ExitStack() as others:
        assert call.mesh.incr("count") == 1
        for shard in call.mesh._core.shards().values():
            connection = shard.instance.take()
            shard.instance.give_back(connection)
            shard.instance.close(connection)  # by who was interrupted before knowing of the above
        for _ in range(8):
            for other in socket.socketpair():
                others.enter_context(other)
        assert call.mesh.incr("count") == 2
