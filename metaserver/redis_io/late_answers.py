"""Asking the same servers round after round, without waiting for those that hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

import redis

from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all

T = TypeVar("T")

_MOMENT = 0.1  # seconds that a round waits for late servers, all together
_AT_ONCE = 32  # threads for servers that hang; more of them take turns


@dataclass
class _Asking(Generic[T]):
    """A server that was late, and is asked beside the rounds."""

    connection: BoundedConnection
    began: float
    answer: Future[T]


class LateAnswers(Generic[T]):
    """Rounds of questions to servers, of which each round waits only for those that were in time.

    A server that is late in a round is waited for there; from then on it is asked beside the
    rounds, and each tells what came of it by then, until it has answered again.
    """

    def __init__(self) -> None:
        self._late: dict[str, _Asking[T]] = {}
        self._workers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask-late")

    def __contains__(self, name: object) -> bool:
        return name in self._late

    def ask_all(
        self,
        connections: Mapping[str, BoundedConnection],
        ask: Callable[[BoundedConnection], T],
        *,
        within: float,
    ) -> dict[str, T | redis.RedisError]:
        """Run ``ask`` on every connection; as `bounded_connection.ask_all`, but for late ones."""
        late = connections.keys() & self._late.keys()
        for name in late:
            self._ask_anew(name, ask)
        in_time = {name: each for name, each in connections.items() if name not in late}
        answers = ask_all(in_time, ask, within=within)
        for name, connection in in_time.items():
            if isinstance(answers[name], redis.TimeoutError):
                self._late[name] = self._begin(connection, ask)
        wait([self._late[name].answer for name in late], timeout=_MOMENT)  # one may be well again
        return answers | {name: self._answer_of(name, within) for name in late}

    def keep_only(self, names: Collection[str]) -> None:
        """Ask no other servers any more; their connections are ended under who asks."""
        for name in self._late.keys() - set(names):
            self._late.pop(name).connection.abort()

    def close(self) -> None:
        """Ask nobody any more."""
        self.keep_only(())
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _ask_anew(self, name: str, ask: Callable[[BoundedConnection], T]) -> None:
        """Ask a late server again if the last attempt has failed."""
        asking = self._late[name]
        if asking.answer.done() and asking.answer.exception() is not None:
            self._late[name] = self._begin(asking.connection, ask)

    def _answer_of(self, name: str, within: float) -> T | redis.RedisError:
        """Return what a late server has answered by now; one that has is late no more."""
        asking = self._late[name]
        if not asking.answer.done():
            if time.monotonic() - asking.began > within:  # it sends a byte now and then
                asking.connection.abort()
            return redis.TimeoutError(f"{name} gave no full answer in {within:g} s")
        try:
            answer = asking.answer.result()
        except redis.RedisError as error:
            return error
        del self._late[name]
        return answer

    def _begin(
        self, connection: BoundedConnection, ask: Callable[[BoundedConnection], T]
    ) -> _Asking[T]:
        return _Asking(connection, time.monotonic(), self._workers.submit(ask, connection))
