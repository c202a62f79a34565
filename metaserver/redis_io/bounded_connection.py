"""One bounded connection to a Redis or Sentinel process, and asking many of them at once.

Replies are raw RESP2 (bytes, int, list). The server may be hostile: `metaserver.redis_io.resp`
bounds its replies, `AllowedNetworks` its addresses. Nothing is retried here: the caller decides
what a failure means.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeAlias, TypeVar

import redis

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.hidden_secrets import hide
from cachemesh.core.names import parse_address
from metaserver.process.config import RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.reply_parsers import NotRedisError
from metaserver.redis_io.resp import SMALL, Limits, Reply, RespSocket, Stream
from metaserver.redis_io.tls import TlsSocket, context_of

T = TypeVar("T")
Ask: TypeAlias = "Callable[[Sequence[Sequence[str | bytes | int]]], list[Reply]]"
"""Sends commands on one open connection, and returns their replies; error replies are values."""

_AT_ONCE = 128
"""Connections that are asked at once: a hostile master may name many replicas, and each reply takes
memory."""
_REASON = 300  # characters of a reason


class BoundedConnection:
    """A connection in the allowed networks, opened by the first call. Threads may share it.

    A host name is looked up and checked each time that the connection is opened. After an error
    the connection is closed, and the next call opens another.

    Args:
        address: "host:port".
        timeout: seconds to connect, and to wait for each reply.
        limits: of the replies to one call.
        opened: called with each connection that is opened, once logged in; what it raises is
            raised by the call that opened it, which then sends nothing.
        certified: the host that the server's certificate has to be for; None: that of the address.
    """

    def __init__(
        self,
        address: str,
        networks: AllowedNetworks,
        auth: RedisAuth,
        timeout: float,
        limits: Limits = SMALL,
        opened: Callable[[Ask], None] | None = None,
        *,
        certified: str | None = None,
    ) -> None:
        self.address = address
        self._certified = certified
        self._opened = opened
        self._networks = networks
        self._auth = auth
        self._timeout = timeout
        self._limits = limits
        self._lock = threading.Lock()
        self._open: RespSocket | None = None

    def __repr__(self) -> str:
        return f"BoundedConnection({self.address!r})"

    def call(self, *command: str | bytes | int, within: float | None = None) -> Any:
        """Return the reply to one command; raise an error reply, or the connection's failure.

        Args:
            within: seconds for the reply; None for the usual time.

        Raises:
            redis.RedisError
        """
        (reply,) = self._exchange([command], within)
        if isinstance(reply, redis.RedisError):
            raise reply
        return reply

    def call_all(
        self, commands: Sequence[Sequence[str | bytes | int]], within: float | None = None
    ) -> list[Any]:
        """Return the replies to commands sent in one write; error replies are values.

        Args:
            within: as of `call`, for each reply.

        Raises:
            redis.RedisError: the connection fails, or the server refuses the metaserver.
        """
        replies = self._exchange(commands, within)
        for reply in replies:
            if isinstance(reply, redis.ConnectionError):  # such as NOAUTH and LOADING
                raise reply
        return list(replies)

    def _exchange(
        self, commands: Sequence[Sequence[str | bytes | int]], within: float | None
    ) -> list[Reply]:
        timeout = self._timeout if within is None else within
        with self._held():
            complete = False
            try:
                replies = self._connected().ask(commands, self._limits, timeout)
                complete = True
            except TimeoutError as error:
                raise redis.TimeoutError(f"Timeout connecting to {self.address}") from error
            except OSError as error:
                raise redis.ConnectionError(f"{self.address}: {error}") from error
            finally:
                if not complete:
                    self._disconnect()  # no call waits for the replies still to come
            return replies

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the connection for this thread; raise `redis.TimeoutError` if it stays busy."""
        if not self._lock.acquire(timeout=self._timeout):
            raise redis.TimeoutError(f"{self.address} still owes an earlier reply")
        try:
            yield
        finally:
            self._lock.release()

    def _connected(self) -> RespSocket:
        """Return the open socket, or open one: a server that restarts has closed the last."""
        if self._open is not None and self._open.is_fresh():
            return self._open
        self._disconnect()
        self._open = RespSocket(self._connect())
        self._log_in(self._open)
        if self._opened is not None:
            self._opened(partial(self._open.ask, limits=SMALL, timeout=self._timeout))
        return self._open

    def _connect(self) -> Stream:
        end = time.monotonic() + self._timeout
        try:
            sock = self._networks.connect(self.address, timeout=self._timeout)
        except (InstanceRejected, InvalidDocumentError) as error:
            raise redis.ConnectionError(str(error)) from error
        if self._auth.tls is None:
            return sock
        with contextlib.ExitStack() as unless_encrypted:
            unless_encrypted.callback(sock.close)
            host = self._certified or parse_address(self.address).host
            left = max(0.01, end - time.monotonic())
            encrypted = TlsSocket(sock, context_of(self._auth.tls), host, left)
            unless_encrypted.pop_all()
        return encrypted

    def _log_in(self, opened: RespSocket) -> None:
        auth = self._auth
        if auth.username is None and auth.password is None:
            return
        words = (
            [auth.password or ""] if auth.username is None else [auth.username, auth.password or ""]
        )
        (reply,) = opened.ask([("AUTH", *words)], SMALL, self._timeout)
        if isinstance(reply, redis.RedisError):
            hide(reply, auth.password)
        if isinstance(reply, redis.ResponseError) and "AUTH" in str(reply):
            raise redis.AuthenticationError(str(reply)) from reply
        if isinstance(reply, redis.RedisError):
            raise reply
        if reply != b"OK":
            raise NotRedisError("the reply to AUTH is not OK")

    def _disconnect(self) -> None:
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Make a call in progress on another thread fail at once."""
        connection = self._open
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self.abort()
        with contextlib.suppress(redis.TimeoutError), self._held():
            self._disconnect()


def ask_all(
    connections: Mapping[str, BoundedConnection],
    ask: Callable[[BoundedConnection], T],
    *,
    within: float,
) -> dict[str, T | redis.RedisError]:
    """Run `ask` on every connection at once, and return its results by name.

    Where `ask` raises a `redis.RedisError`, that is the result. The call takes about `within`
    seconds at most for each 128 connections: a server that has not answered by then is cut off,
    also one that sends a byte now and then.
    """
    answers: dict[str, T | redis.RedisError] = {}
    left = iter(connections.items())
    while some := dict(itertools.islice(left, _AT_ONCE)):
        answers |= _ask_some(some, ask, within)
    return answers


def _ask_some(
    connections: Mapping[str, BoundedConnection],
    ask: Callable[[BoundedConnection], T],
    within: float,
) -> dict[str, T | redis.RedisError]:
    workers = ThreadPoolExecutor(max_workers=len(connections), thread_name_prefix="ask")
    asked: dict[str, Future[T]] = {
        n: workers.submit(ask, connection) for n, connection in connections.items()
    }
    _, late = wait(asked.values(), timeout=within)
    for name, future in asked.items():
        if future in late:
            connections[name].abort()
    # Threads that are about to give up are waited for; one that goes on is left behind.
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
    return answers


def reason_of(error: redis.RedisError) -> str:
    """Return one line that says why a call failed, fit for a status document or an event."""
    text = " ".join(str(error).split())[:_REASON]
    cause = error.__cause__ or error.__context__
    if type(error) is redis.ConnectionError and isinstance(cause, OSError) and cause.strerror:
        return cause.strerror  # the text would repeat the address
    if isinstance(error, redis.AuthenticationError):
        return f"refused the user name or password: {text}"
    return text or type(error).__name__
