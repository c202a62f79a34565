"""One bounded connection to a Redis or Sentinel process, and asking many of them at once.

Replies are raw RESP2 (bytes, int, list), so that nothing depends on how a redis-py release
shapes them. Nothing is retried here: whoever asks decides what a failure means.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        self._timeout = timeout
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
        with self._held():
            self._connect()
            self._connection.send_command(*command)
            return self._connection.read_response()

    def call_all(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Return the replies to `commands`, sent in one write; error replies are values.

        Raises `redis.RedisError` when the connection fails.
        """
        with self._held():
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

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """The connection for this thread alone; raises `redis.TimeoutError` if it stays busy."""
        if not self._lock.acquire(timeout=self._timeout):
            raise redis.TimeoutError(f"{self.address} still owes an earlier answer")
        try:
            yield
        finally:
            self._lock.release()

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
        self.abort()
        with contextlib.suppress(redis.TimeoutError), self._held():
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
    workers = ThreadPoolExecutor(max_workers=len(links), thread_name_prefix="ask")
    asked: dict[str, Future[T]] = {n: workers.submit(ask, link) for n, link in links.items()}
    _, late = wait(asked.values(), timeout=within)
    for name, future in asked.items():
        if future in late:
            links[name].abort()
    # A thread that the resolver of host names holds up cannot be cut off, and is left behind.
    _, stuck = wait(late, timeout=0.1)
    workers.shutdown(wait=not stuck)
    answers: dict[str, T | redis.RedisError] = {}
    for name, future in asked.items():
        if future in late and (future in stuck or future.exception() is not None):
            answers[name] = redis.TimeoutError(f"{name} gave no full answer in {within:g} s")
            continue
        try:
            answers[name] = future.result()
        except redis.RedisError as error:
            answers[name] = error
        except OSError as error:
            answers[name] = redis.ConnectionError(f"{name}: {error}")
    return answers


def reason_of(error: redis.RedisError) -> str:
    """One line that says why a call failed, fit for a status document or an event."""
    text = " ".join(str(error).split())
    cause = error.__cause__ or error.__context__
    if type(error) is redis.ConnectionError and isinstance(cause, OSError) and cause.strerror:
        return cause.strerror  # redis-py's own words repeat the address, which stands before this
    if isinstance(error, redis.AuthenticationError):
        return f"refused the user name or password: {text}"
    return text or type(error).__name__
