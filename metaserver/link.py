"""One bounded connection to a Redis or Sentinel process, and asking many of them at once.

Replies are raw RESP2 (bytes, int, list), so that nothing depends on how a redis-py release
shapes them. Nothing is retried here: whoever asks decides what a failure means.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.names import parse_address

T = TypeVar("T")


@dataclass(frozen=True)
class RedisAuth:
    """The user name and password for Redis or Sentinel; None is "no AUTH"."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


class Link:
    """A connection to `address` ("host:port") that is opened when first used.

    `timeout` (seconds) bounds the connect and every read and write. After an error the
    connection is closed and the next call opens another. Safe to share between threads.
    """

    def __init__(self, address: str, auth: RedisAuth, timeout: float) -> None:
        host, port = parse_address(address)
        self.address = address
        self._lock = threading.Lock()
        self._connection: Any = redis.Connection(  # type: ignore[no-untyped-call]
            host=host,
            port=port,
            username=auth.username,
            password=auth.password,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )

    def __repr__(self) -> str:
        return f"Link({self.address!r})"

    def call(self, *command: str | bytes | int) -> Any:
        """Return the reply to one command; raises `redis.RedisError`."""
        with self._lock:
            self._connect()
            self._connection.send_command(*command)
            return self._connection.read_response()

    def call_all(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Return the replies to `commands`, sent in one write; error replies are values.

        Raises `redis.RedisError` when the connection fails.
        """
        with self._lock:
            self._connect()
            connection = self._connection
            connection.send_packed_command(connection.pack_commands(commands))
            replies: list[Any] = []
            for _ in commands:
                try:
                    replies.append(connection.read_response())
                except redis.ResponseError as error:
                    replies.append(error)
                except redis.RedisError:
                    connection.disconnect()  # the replies still to come belong to nobody
                    raise
            return replies

    def _connect(self) -> None:
        """Open the connection, again if the other side has closed it since, as a restart does."""
        self._connection.connect()
        try:
            stale = self._connection.can_read(timeout=0)
        except redis.RedisError:
            stale = True
        if stale:
            self._connection.disconnect()

    def abort(self) -> None:
        """Make a call in progress on another thread fail at once.

        redis-py has no public way to do that: `disconnect` takes the parser from under the
        reading thread. `_sock` is the only private name of redis-py used in this package.
        """
        sock: socket.socket | None = self._connection._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._connection.disconnect()


def ask_all(
    links: Mapping[str, Link], ask: Callable[[Link], T], *, within: float
) -> dict[str, T | redis.RedisError]:
    """Run `ask` on every link at once; a `redis.RedisError` stands in place of its answer.

    Takes at most about `within` seconds: what has not answered by then is cut off, also a
    server that sends a byte now and then and so never runs into the socket's own timeout.
    """
    if not links:
        return {}
    answers: dict[str, T | redis.RedisError] = {}
    end = time.monotonic() + within
    with ThreadPoolExecutor(max_workers=len(links), thread_name_prefix="ask") as pool:
        asked: dict[str, Future[T]] = {n: pool.submit(ask, link) for n, link in links.items()}
        _, late = wait(asked.values(), timeout=max(0.0, end - time.monotonic()))
        cut = {name for name, future in asked.items() if future in late}
        while late:
            for name in cut:
                links[name].abort()
            _, late = wait(late, timeout=0.05)
        for name, future in asked.items():
            try:
                answers[name] = future.result()
            except redis.RedisError as error:
                answers[name] = error
            except OSError as error:
                answers[name] = redis.ConnectionError(f"{name}: {error}")
            if name in cut and isinstance(answers[name], redis.RedisError):
                answers[name] = redis.TimeoutError(f"{name} gave no full answer in {within:g} s")
    return answers


def reason_of(error: redis.RedisError) -> str:
    """One line that says why a call failed, fit for a status document or an event."""
    text = " ".join(str(error).split())
    if isinstance(error, redis.AuthenticationError):
        return f"refused the user name or password: {text}"
    return text or type(error).__name__
