"""Every way in which an app sends commands, and masters that misbehave on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis

from tests.support.both_clients import Caller
from tests.support.movable_pool import MovablePool
from tests.support.rogue_server import Server, Words, greeting

SHARDS = ("cache-0", "cache-1")


@dataclass(frozen=True)
class Use:
    """One way in which an app sends commands.

    Attributes:
        call: takes the caller, the client and a key of each shard; returns the result.
        sent: the command that arrives at a server.
        reads: whether the command only reads, and so may run twice.
        misses: whether a miss reply exists for it.
        piped: whether it is a pipeline.
    """

    call: Callable[[Caller, Any, str, str], Any]
    sent: str
    reads: bool = False
    misses: bool = True
    piped: bool = False


def piped(transaction: bool | None, method: str, call: Caller, mesh: Any, a: str, b: str) -> Any:
    """Send a pipeline with one command a key; a transaction has the first key only."""
    pipe = getattr(mesh.pipeline(transaction=transaction), method)(a)
    if transaction is not True:
        getattr(pipe, method)(b)
    return call.drive(pipe).execute()


def on(method: str, *args: Any) -> Callable[[Caller, Any, str, str], Any]:
    """Return a use of a method that takes one key."""
    return lambda call, mesh, a, b: getattr(call.drive(mesh), method)(a, *args)


def of_both(method: str) -> Callable[[Caller, Any, str, str], Any]:
    """Return a use of a method that takes both keys."""
    return lambda call, mesh, a, b: getattr(call.drive(mesh), method)(a, b)


def keyless(method: str, *args: Any) -> Callable[[Caller, Any, str, str], Any]:
    """Return a use of a method that takes no key."""
    return lambda call, mesh, a, b: getattr(call.drive(mesh), method)(*args)


USES: dict[str, Use] = {
    "a read": Use(on("strlen"), "STRLEN", reads=True),
    "a write": Use(on("incr"), "INCRBY"),
    "a read in lower case": Use(
        lambda call, mesh, a, b: call.drive(mesh).execute_command("llen", a), "LLEN", reads=True
    ),
    "a split read": Use(of_both("exists"), "EXISTS", reads=True),
    "a split write": Use(of_both("unlink"), "UNLINK"),
    "MSET": Use(lambda call, mesh, a, b: call.drive(mesh).mset({a: 1, b: 2}), "MSET"),
    "a keyless read of all": Use(keyless("dbsize"), "DBSIZE", reads=True, misses=False),
    "a keyless write to all": Use(keyless("flushdb"), "FLUSHDB", misses=False),
    "a keyless read of one": Use(keyless("time"), "TIME", misses=False),
    "a script": Use(lambda call, mesh, a, b: call.drive(mesh).eval("return 1", 1, a), "EVAL"),
    "a blocking command": Use(on("blpop", 1), "BLPOP"),
    "a pipeline of reads": Use(partial(piped, False, "scard"), "SCARD", reads=True, piped=True),
    "a pipeline of writes": Use(partial(piped, False, "persist"), "PERSIST", piped=True),
    "a MULTI for each shard": Use(partial(piped, None, "decr"), "DECRBY", piped=True),
    "a transaction": Use(partial(piped, True, "getdel"), "GETDEL", piped=True),
}


GOOD = {
    "MSET": b"+OK\r\n",
    "FLUSHDB": b"+OK\r\n",
    "BLPOP": b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n",
    "TIME": b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
}


class Master(Server):
    """A master that answers an app's commands wrongly for a while, and then as Redis does.

    Attributes:
        bad: the wrong reply; None: no reply.
        times: how many more wrong replies to send.
        ran: command -> how often it came.
    """

    def __init__(self) -> None:
        self.bad: bytes | None = None
        self.times = 0
        self.ran: Counter[str] = Counter()
        self._queued: dict[threading.Thread, int] = {}  # a connection has one
        super().__init__(self._say)

    def _say(self, words: Words) -> bytes | None:
        if said := greeting(words):
            return said
        name = words[0].decode().upper()
        me = threading.current_thread()
        if name == "PING":
            return b"+PONG\r\n"
        if name == "MULTI":
            self._queued[me] = 0
            return b"+OK\r\n"
        if name == "EXEC":
            count = self._queued.pop(me, None)
            if count is None:
                return b"-EXECABORT Transaction discarded because of previous errors.\r\n"
            return b"*%d\r\n" % count + b":1\r\n" * count
        self.ran[name] += 1
        if self.times:
            self.times -= 1
            self._queued.pop(me, None)
            return self.bad
        if me in self._queued:
            self._queued[me] += 1
            return b"+QUEUED\r\n"
        return GOOD.get(name, b":1\r\n")

    def say(self, bad: bytes | None, times: int) -> None:
        """Send the reply ``bad`` so many times from now on."""
        self.bad, self.times = bad, times
        self.ran.clear()


@dataclass(frozen=True)
class Pool:
    """Two shards whose masters misbehave on demand."""

    masters: list[Master]
    site: MovablePool

    def say(self, bad: bytes | None, times: int = 10**9) -> None:
        """Make both masters send the reply ``bad`` so many times."""
        for master in self.masters:
            master.say(bad, times)

    def ran(self, name: str) -> list[int]:
        """Return how often each master got the command, without those that never did."""
        return [master.ran[name] for master in self.masters if master.ran[name]]

    def keys(self) -> tuple[str, str]:
        """Return a key of each shard."""
        first, second = (self.site.keys(shard)[0] for shard in SHARDS)
        return first, second


@contextmanager
def pool_of(one: Master, other: Master, directory: Path) -> Iterator[Pool]:
    """Serve with these masters for the block.

    Args:
        one, other: the masters of `SHARDS`, in order; closed at the end.
        directory: of the pool document.
    """
    with one, other:
        masters = {shard: m.address for shard, m in zip(SHARDS, (one, other), strict=True)}
        with MovablePool(masters, directory) as site:
            yield Pool([one, other], site)


def outcome(use: Use, call: Caller, mesh: Any, keys: tuple[str, str]) -> Any:
    """Return the result of a use, or the exception it raised."""
    try:
        return use.call(call, mesh, *keys)
    except (redis.RedisError, OSError) as error:
        return error
