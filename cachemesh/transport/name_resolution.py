"""Host names looked up, and handshakes made, within the time to connect.

`socket.getaddrinfo` has no timeout, and takes half a minute where DNS is silent. So a thread makes
the look-up, one for each name at a time, and every connection to that name waits for the thread,
each within its own timeout. Numeric addresses need no look-up.

Beyond redis-py's public interface, `Connection._connect` and `connect_check_health` are overridden
here, for asyncio also `Connection._connection_arguments`. Certificates are checked against the
name.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDoneError
from functools import lru_cache
from typing import Any, TypeVar

import redis
import redis.asyncio

from cachemesh.transport.read_deadline import Parser, in_all

Addresses = list[str]

T = TypeVar("T")


class _LookUps:
    """The look-ups under way in this process. A forked child starts with none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: dict[str, Future[Addresses]] = {}


_look_ups = _LookUps()


def is_numeric(host: str) -> bool:
    """Return whether a host is an IP address, which needs no look-up."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def look_up(host: str, seconds: float | None) -> Addresses:
    """Return the IP addresses of a host, in the order in which to try them.

    Args:
        host: a name or an address.
        seconds: the longest wait; None for no limit.

    Raises:
        TimeoutError: the addresses are not known in time.
        OSError: the name is not known.
    """
    if is_numeric(host):
        return [host]
    try:
        return _begun(host).result(seconds)
    except NotDoneError as error:
        raise _late(host) from error
    except socket.gaierror as error:
        raise socket.gaierror(*error.args) from error  # to each thread one of its own


def connected(host: str, seconds: float | None, connect: Callable[[str, float | None], T]) -> T:
    """Return what ``connect`` returns for the first address of a host that can be connected to.

    Args:
        host: a name or an address.
        seconds: for the look-up and all attempts together; None for no limit.
        connect: called with an address, and the seconds that are left.

    Raises:
        TimeoutError, OSError: as `look_up`; or the error of the last address.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    failure: OSError | None = None
    for address in look_up(host, seconds):
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        try:
            return connect(address, left)
        except OSError as error:
            failure = error
    assert failure is not None  # there is at least one address
    raise failure


def _late(host: str) -> TimeoutError:
    return TimeoutError(f"host name {host} was not resolved in time")


def _begun(host: str) -> Future[Addresses]:
    look_ups = _look_ups
    with look_ups.lock:
        future = look_ups.running.get(host)
        if future is None:
            future = look_ups.running[host] = Future()
            threading.Thread(
                target=_run, args=(look_ups, host, future), name="cachemesh-dns", daemon=True
            ).start()
    return future


def _run(look_ups: _LookUps, host: str, future: Future[Addresses]) -> None:
    """Look up a host, and set the future. Body of a thread."""
    found: Addresses = []
    failure: Exception = socket.gaierror(f"host name {host} has no address")
    try:
        for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            if address[0] not in found:
                found.append(str(address[0]))
    except (OSError, UnicodeError) as error:
        failure = error if isinstance(error, OSError) else socket.gaierror(str(error))
    finally:
        with look_ups.lock:
            del look_ups.running[host]
        if found:
            future.set_result(found)
        else:
            future.set_exception(failure)


class _Resolving(redis.Connection):
    """Connects within ``socket_connect_timeout``, the look-up and the handshake counted.

    Attributes:
        deadline: of `in_all`.
    """

    @property
    def deadline(self) -> float:
        return float(self._parser.deadline)

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._parser.deadline = value

    def set_parser(self, parser_class: Any) -> None:
        set_parser: Any = super().set_parser  # untyped in redis-py
        set_parser(Parser)

    def connect_check_health(self, *args: Any, **options: Any) -> None:
        connect: Any = super().connect_check_health  # untyped in redis-py
        connection: Any = self
        if connection._sock:
            return
        with in_all(self, self.socket_connect_timeout):
            connect(*args, **options)
        connection._sock.settimeout(self.socket_timeout)

    def _connect(self) -> Any:
        sock = self._connect_to_any()
        if self.deadline != math.inf:  # a handshake of TLS, which follows, has what is left
            sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
        return sock

    def _connect_to_any(self) -> Any:
        connect: Any = super()._connect  # untyped in redis-py
        name, limit = self.host, self.socket_connect_timeout
        if is_numeric(name):
            return connect()

        def connect_to(address: str, seconds: float | None) -> Any:
            self.host, self.socket_connect_timeout = address, seconds
            return connect()

        try:
            return connected(name, limit, connect_to)
        finally:
            self.host, self.socket_connect_timeout = name, limit


class _AsyncResolving(redis.asyncio.Connection):
    """As `_Resolving`, for asyncio; goes before a class of connections of the same base."""

    deadline = math.inf
    _address: str | None = None

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        connect: Any = super().connect_check_health  # untyped in redis-py
        with in_all(self, self.socket_connect_timeout):
            await connect(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        read: Any = super().read_response  # untyped in redis-py
        if self.deadline == math.inf:
            return await read(*args, **options)
        usual, self.socket_timeout = self.socket_timeout, self.deadline - time.monotonic()
        try:
            return await read(*args, **options)
        finally:
            self.socket_timeout = usual

    async def _connect(self) -> None:
        connect: Any = super()._connect  # untyped in redis-py
        if is_numeric(self.host):
            await connect()
            return
        failure: OSError | None = None
        try:
            for address in await _look_up_async(self.host, self.socket_connect_timeout):
                self._address = address
                try:
                    await connect()
                except OSError as error:
                    failure = error
                else:
                    return
        finally:
            self._address = None
        assert failure is not None  # there is at least one address
        raise failure

    def _connection_arguments(self) -> dict[str, Any]:
        arguments: Any = super()._connection_arguments  # untyped in redis-py
        merged = dict(arguments())
        if self._address is not None:
            merged["host"] = self._address
            if merged.get("ssl"):
                merged.setdefault("server_hostname", self.host)
        return merged


async def _look_up_async(host: str, seconds: float | None) -> Addresses:
    future = asyncio.wrap_future(_begun(host))
    done, _ = await asyncio.wait([future], timeout=seconds)
    if done:
        return future.result()
    future.add_done_callback(_seen)
    raise _late(host)


def _seen(future: asyncio.Future[Addresses]) -> None:
    if not future.cancelled():
        future.exception()


def resolving(connection_class: Any) -> Any:
    """Return a subclass of one of redis-py's connection classes, with bounded look-ups."""
    return _resolving(connection_class)


@lru_cache
def _resolving(connection_class: Any) -> Any:
    if connection_class is redis.Connection:
        return _Resolving
    if connection_class is redis.asyncio.Connection:
        return _AsyncResolving
    bases: tuple[Any, ...] = connection_class, _Resolving
    if issubclass(connection_class, redis.asyncio.Connection):
        bases = _AsyncResolving, connection_class
    elif not issubclass(connection_class, redis.Connection):
        return connection_class  # an app's own, which connects in its own way
    return type(connection_class.__name__, bases, {"__module__": connection_class.__module__})


def _after_fork_in_child() -> None:
    """Forget the look-ups: their threads are the parent's."""
    global _look_ups
    _look_ups = _LookUps()


os.register_at_fork(after_in_child=_after_fork_in_child)
