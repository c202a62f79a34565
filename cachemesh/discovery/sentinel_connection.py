"""A connection to one Sentinel. redis-py connects and logs in; then this module uses the socket."""

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

from cachemesh.core.hidden_secrets import hiding
from cachemesh.core.names import Address
from cachemesh.discovery.password_file import PasswordFile
from cachemesh.transport.name_resolution import resolving
from cachemesh.transport.redis_py import MORE, PUSH, socket_of

DEFAULT_TIMEOUT = 0.3
_READ_SIZE = 65_536
_MAX_BYTES = 4 * 1024 * 1024
"""Most bytes received at once; a Sentinel usually sends 1 KB for each master or replica."""

_MAX_BYTES_EACH = 64 * 1024  # added for each command sent
_HUGE_LIST = re.compile(rb"[*~>]\d{6}")
"""A list of 100,000 elements or more. hiredis allocates memory for as many elements as a list
announces, so eleven bytes could cost gigabytes."""
_NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

# redis.io's minimal ACL for clients of Sentinel does not include CLIENT SETINFO.
_ANONYMOUS: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis.Redis).parameters  # in newer releases
    else {"lib_name": None, "lib_version": None}
)


@dataclass(frozen=True)
class SentinelOptions:
    """How to connect to Sentinels.

    Attributes:
        username, password: credentials for the Sentinels, which differ from those for Redis.
        password_file: in place of the password, has it; read for each connection.
        timeout: seconds to connect to one Sentinel, and again for its replies.
        connection: further options of `redis.Redis`, such as ``ssl``.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: PasswordFile | None = None
    timeout: float = DEFAULT_TIMEOUT
    connection: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def current_password(self) -> str | None:
        """Return the password to log in with now.

        Raises:
            redis.AuthenticationError: its file cannot be read.
        """
        if self.password_file is None:
            return self.password
        return self.password_file.get_credentials()[-1]


class SentinelConnection:
    """A connection to one Sentinel. Threads must not share one.

    Args:
        address: of the Sentinel; a host name is looked up anew for each connection.
        options: credentials and timeout.

    Raises:
        redis.ConnectionError, redis.TimeoutError: no connection, or the login is refused.
    """

    def __init__(self, address: Address, options: SentinelOptions) -> None:
        password = options.current_password()
        settings: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "username": options.username,
            "password": password,
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
        with hiding(password):
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
        """Send commands at once and return their replies.

        Args:
            commands: each with its arguments.
            seconds: time for all replies.

        Returns:
            One reply for each command; error replies are exceptions among them.

        Raises:
            OSError: the connection broke, or not all replies came in time (TimeoutError).
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
        """Send commands without waiting for replies, which `receive` returns.

        Args:
            commands: each with its arguments.

        Raises:
            OSError: the connection broke, or its send buffer is full.
        """
        self._sock.setblocking(False)
        self._sock.sendall(_packed(commands))

    def receive(self) -> list[Any]:
        """Return the replies and messages that have come since the last call. Never blocks.

        At most about 4 MiB are read; later calls return the rest.

        Raises:
            As `ask`.
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
        """Return whether the connection is open and has received nothing unexpected."""
        try:
            return not self.receive() and not self._reader.has_data()
        except (OSError, redis.RedisError):
            return False

    def fileno(self) -> int:
        """Return the file descriptor for a selector."""
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
            # For a map with a list as a key, a number of thousands of digits, or 2^32 elements.
            raise redis.InvalidResponse("its answer is not that of a Sentinel") from error


def _packed(commands: Iterable[tuple[str, ...]]) -> bytes:
    pack: Any = hiredis.pack_command  # takes a tuple of any length
    return b"".join(map(pack, commands))
