"""One connection to one Sentinel. redis-py connects and logs in; this module sends and receives."""

from __future__ import annotations

import inspect
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cachemesh.core.names import Address
from cachemesh.transport.name_resolution import resolving
from cachemesh.transport.redis_py import MORE, PUSH, socket_of

DEFAULT_TIMEOUT = 0.3
_READ_SIZE = 65_536
_MAX_BYTES = 4 * 1024 * 1024
"""Most bytes of one exchange; a Sentinel usually sends 1 KB for each master or replica."""

_MAX_BYTES_EACH = 64 * 1024  # added for each command of an exchange
_HUGE_LIST = re.compile(rb"[*~>]\d{6}")
"""Lists of 100,000 elements or more. hiredis allocates memory for all elements that are announced.
"""
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# The permissions that redis.io recommends for a Sentinel's user exclude CLIENT SETINFO.
_ANONYMOUS: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis.Redis).parameters  # in newer releases
    else {"lib_name": None, "lib_version": None}
)


@dataclass(frozen=True)
class SentinelOptions:
    """How to connect to Sentinels.

    Attributes:
        username, password: Sentinel's own credentials, not those of Redis.
        timeout: seconds to connect to one Sentinel, and again seconds for its replies.
        connection: further options of `redis.Redis`, such as ``ssl``.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = DEFAULT_TIMEOUT
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)


class SentinelConnection:
    """An open connection to a Sentinel. Not thread-safe.

    Args:
        address: of the Sentinel; a host name is looked up for each connection.
        options: credentials and timeout.

    Raises:
        redis.ConnectionError, redis.TimeoutError: the Sentinel is unreachable or refuses the login.
    """

    def __init__(self, address: Address, options: SentinelOptions) -> None:
        settings: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "username": options.username,
            "password": options.password,
            "socket_timeout": options.timeout,
            "socket_connect_timeout": options.timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            **_ANONYMOUS,
            **options.connection,
        }
        maker = redis.Redis(**settings)
        maker.connection_pool.connection_class = resolving(maker.connection_pool.connection_class)
        self.address = address
        connection: Any = maker.connection_pool.make_connection()  # untyped in redis-py
        maker.close()
        connection.connect()
        self._connection = connection
        self._sock: Any = socket_of(connection)
        self._bytes_left = _MAX_BYTES
        self._last = b""
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse,
            replyError=redis.ResponseError,
            encoding="utf-8",
            errors="replace",
            notEnoughData=MORE,
        )

    def ask(self, commands: Sequence[tuple[str, ...]], seconds: float) -> list[Any]:
        """Send some commands at once and return their replies; error replies stand among them.

        Args:
            commands: each as its words.
            seconds: timeout for all replies together.

        Raises:
            OSError: the connection broke, or the timeout has passed (TimeoutError).
            redis.InvalidResponse: the bytes received are not RESP, or too many.
        """
        deadline = time.monotonic() + seconds
        self._bytes_left = _MAX_BYTES + _MAX_BYTES_EACH * len(commands)
        self._sock.settimeout(seconds)
        self._sock.sendall(_packed(commands))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._next()
            if reply is MORE:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no answer in time")
                self._sock.settimeout(left)
                self._feed(self._sock.recv(_READ_SIZE))
            elif reply.__class__ is not PUSH:
                replies.append(reply)
        return replies

    def send(self, *commands: tuple[str, ...]) -> None:
        """Send commands without waiting; `receive` returns the replies.

        Makes the socket non-blocking.

        Args:
            commands: each as its words.

        Raises:
            OSError: the connection broke, or its send buffer is full.
        """
        self._sock.setblocking(False)
        self._sock.sendall(_packed(commands))

    def receive(self) -> list[Any]:
        """Return the replies received since the last call; of very many, only the first part.

        Raises:
            OSError, redis.InvalidResponse: as `ask`.
        """
        self._sock.setblocking(False)
        for _ in range(_MAX_BYTES // _READ_SIZE):
            try:
                self._feed(self._sock.recv(_READ_SIZE))
            except _NOT_YET:
                break
        replies: list[Any] = []
        while (reply := self._next()) is not MORE:
            replies.append(reply)
            self._bytes_left = _MAX_BYTES
        return replies

    def is_reusable(self) -> bool:
        """Whether the connection is open and holds no unexpected reply."""
        try:
            return not self.receive() and not self._reader.has_data()
        except (OSError, redis.RedisError):
            return False

    def fileno(self) -> int:
        """Return the socket's file descriptor, for a selector."""
        number: int = self._sock.fileno()
        return number

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()

    def _feed(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("Connection closed by server")
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise redis.InvalidResponse("its answer is too long")
        seen = self._last + data
        if _HUGE_LIST.search(seen):
            raise redis.InvalidResponse("it announces a list of 100,000 elements or more")
        self._last = seen[-len("*99999") :]
        self._reader.feed(data)

    def _next(self) -> Any:
        try:
            return self._reader.gets()
        except (TypeError, ValueError, MemoryError) as error:
            # For instance a map with a list as key, a number of thousands of digits, or 2^32 items.
            raise redis.InvalidResponse("its answer is not that of a Sentinel") from error


def _packed(commands: Iterable[tuple[str, ...]]) -> bytes:
    pack: Any = hiredis.pack_command  # takes a tuple of any length
    return b"".join(map(pack, commands))
