"""The adapter to redis-py: all that CacheMesh uses of redis-py's internals, in one place.

redis-py connects: TCP or TLS, AUTH, HELLO, SELECT, CLIENT SETNAME and SETINFO. Then the socket is
taken over for the lean paths of `cachemesh.transport`. Used beyond the public interface:
``Connection._sock``, for asyncio ``Connection._reader`` and ``_writer``, and
``BaseParser.parse_error``; `cachemesh.transport.name_resolution` and `read_deadline` override
methods of connections and of their parser, `pool` and `mesh_pool` of both transports keep to, and
show, a pool's ``_available_connections`` and ``_in_use_connections``, and the asyncio pub/sub
overrides ``PubSub._execute``. Tests hold the versions this works with.
"""

from __future__ import annotations

import asyncio
import inspect
import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NoReturn

import hiredis
import redis
import redis.asyncio
from redis._parsers import Encoder
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection as AsyncConnection

from cachemesh.core.commands.encoding import encode
from cachemesh.core.names import Address
from cachemesh.core.resilience.retry import Timeouts
from cachemesh.transport.read_deadline import in_all

if sys.platform == "linux":
    import fcntl
    import termios

PLAIN_SOCKET = socket.socket if socket.socket.__module__ == "socket" else None
"""The standard library's class, if it was not replaced (by gevent) before this was imported."""

NOT_CONNECTED = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.InvalidResponse,
    MemoryError,
)
"""The exceptions of connecting, if the instance, or whatever listens there, does not serve."""

BROKEN = (redis.ConnectionError, redis.TimeoutError, redis.InvalidResponse, MemoryError)
"""The exceptions of redis-py's connections when they break. Subclasses are a server's replies."""

MORE: Any = object()
"""A reader's result when it needs more bytes; False and None are replies."""

PUSH: type = getattr(hiredis, "PushNotification", type(MORE))
"""The class of a push of a RESP3 server; the class of `MORE` before hiredis 3.0, which has none."""


def _no_maintenance(client: type) -> dict[str, Any]:
    """Return the option that turns off maintenance notifications, where redis-py's client has them.

    Those notifications cost a round trip for each connection, and the look-up of a logger: if a
    signal handler raised meanwhile, logging's lock would stay taken for ever.
    """
    option = "maint_notifications_config"
    if option not in inspect.signature(client).parameters:
        return {}  # before 7.0; for asyncio before 8.0
    from redis.maint_notifications import MaintNotificationsConfig

    return {option: MaintNotificationsConfig(enabled=False)}


def destination(address: Address, timeouts: Timeouts) -> dict[str, Any]:
    """Return the options of a redis-py connection for where it goes and how long it waits."""
    return {
        "host": address.host,
        "port": address.port,
        "socket_timeout": timeouts.reply,
        "socket_connect_timeout": timeouts.connecting(None),
    }


def make_connection(connection_class: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return a redis-py connection that is not connected yet."""
    try:
        return connection_class(**options)
    except UnboundLocalError as error:
        # What a signal handler raised in redis-py 6's constructor comes out of it as this.
        raise error.__context__ or error from None


@lru_cache
def speaks_resp3(protocol: int | str | None) -> bool:
    """Return whether redis-py's connections speak RESP3 with an option ``protocol``.

    Args:
        protocol: None for redis-py's default.
    """
    options = {} if protocol is None else {"protocol": protocol}
    connection: Any = make_connection(redis.Connection, options)
    return bool(connection.protocol == 3)


_AT_ONCE = 0.001  # seconds to read in what is there


def receive(connection: Any, seconds: float) -> Any:
    """Return the next message of a subscription; None if none has come whole in time.

    A part of a message is kept for the next call.

    Args:
        connection: of redis-py.
        seconds: the longest wait.
    """
    if not connection.can_read(timeout=seconds):
        return None
    try:
        with in_all(connection, max(seconds, _AT_ONCE)):
            return connection.read_response(disconnect_on_error=False, push_request=True)
    except redis.TimeoutError:
        return None


def transport_of(connection: Any) -> asyncio.Transport:
    """Return the transport under a connected redis.asyncio connection."""
    transport: asyncio.Transport = connection._writer.transport
    return transport


def disown(connection: Any) -> None:
    """Let a redis.asyncio connection forget its transport, which was taken over and closed."""
    if connection is not None:
        connection._reader = connection._writer = None


def leave_to_parent(connection: Any) -> None:
    """Let a connection forget the parent's socket, in a forked child, without an effect on it.

    An asyncio transport is not even closed: that would reach into the parent's selector.
    """
    if isinstance(connection, redis.asyncio.Connection):
        _parents.append(connection._writer)
        disown(connection)
    elif connection._sock is not None:
        connection._sock.close()
        connection._sock = None


_parents: list[Any] = []
"""The streams of parents, kept: one that is collected closes its transport."""


def socket_of(connection: Any) -> socket.socket:
    """Return the connected socket of a redis-py connection."""
    sock: socket.socket = connection._sock
    return sock


def is_open(connection: Any) -> bool:
    """Return whether a redis-py connection, of either kind, has not been closed on this side."""
    if isinstance(connection, AsyncConnection):
        return bool(connection.is_connected)
    return connection._sock is not None


def is_ready(connection: Any, master: Address | None) -> bool:
    """Return whether a redis-py connection between two commands is open, and leads to the master.

    Args:
        connection: of either kind.
        master: None if no master is known.
    """
    if not is_open(connection) or (connection.host, connection.port) != master:
        return False
    reader = getattr(connection, "_reader", None)  # of asyncio
    if reader is None:
        return not has_input(connection._sock)
    return not (reader.at_eof() or has_input(transport_of(connection).get_extra_info("socket")))


def login_of(options: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the user, "" for the default one, and the password that connections log in with.

    Args:
        options: of redis-py.

    Returns:
        None without a password.
    """
    provider = options.get("credential_provider")
    if provider is None:
        given = (options.get("username"), options.get("password"))
    else:
        given = provider.get_credentials()
    user, password = given if len(given) == 2 else (None, *given)
    if password is None:
        return None
    return _text(user or ""), _text(password)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def make_reader(connection_kwargs: Mapping[str, Any]) -> hiredis.Reader:
    """Return a hiredis reader that decodes and builds errors as redis-py's own does."""
    options: dict[str, Any] = {
        "protocolError": redis.InvalidResponse,
        "replyError": BaseParser.parse_error,
        "errors": connection_kwargs.get("encoding_errors", "strict"),
        "notEnoughData": MORE,
    }
    if connection_kwargs.get("decode_responses"):
        options["encoding"] = connection_kwargs.get("encoding", "utf-8")
    return hiredis.Reader(**options)


def unreadable(error: Exception) -> Exception:
    """Return the exception for an error of `make_reader`'s reader.

    Bytes that are not text are an error of the app. A reply that Python cannot hold, such as a map
    whose key is a list, is not from Redis.
    """
    if isinstance(error, (redis.RedisError, UnicodeDecodeError, MemoryError)):
        return error
    return redis.InvalidResponse(
        "the reply is not one of Redis's; check what listens at this address"
    )


def raise_unreadable(error: TypeError | ValueError) -> NoReturn:
    """Raise what `unreadable` makes of an error."""
    raise unreadable(error)


def bound_waiting(sock: socket.socket, seconds: float | None) -> None:
    """Let no send or receive wait longer than so many seconds; None for no limit.

    A plain socket gets the kernel's own timeouts (SO_RCVTIMEO, SO_SNDTIMEO). Python's
    ``settimeout`` would cost a poll() before each call.
    """
    if type(sock) is not PLAIN_SOCKET:
        sock.settimeout(seconds)
        return
    sock.settimeout(None)
    seconds = seconds or 0.0  # to the kernel, zero is no limit
    whole = int(seconds)
    timeval = struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)


def has_input(sock: socket.socket) -> bool:
    """Return whether a socket has bytes, or the end of the stream, to be read.

    An idle connection with either is stale.
    """
    return bool(input_probe(sock)())


def input_probe(sock: socket.socket) -> Callable[[], object]:
    """Return a function that does what `has_input` does for one socket, in 0.3 us.

    Its result is true or false, but not always a bool.
    """
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    if isinstance(sock, ssl.SSLSocket):
        return lambda: sock.pending() or poller.poll(0)
    return partial(poller.poll, 0)


def has_arrived(sock: Any) -> bool:
    """Return whether the server's machine has all that was sent over a TCP connection.

    Only Linux tells. Elsewhere, and once the socket is closed, all of it counts as arrived.
    """
    unacknowledged = bytearray(4)
    try:
        if sys.platform == "linux":
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, unacknowledged)
    except (OSError, ValueError, AttributeError):
        return True
    return not any(unacknowledged)


_pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command
_PACKED = frozenset({bytes, str})


def pack(args: tuple[Any, ...]) -> bytes:
    """Return a command, one word each argument, as the bytes Redis reads.

    hiredis gets bytes and str alone: it crashes the process when a signal handler raises while it
    packs a number.

    Raises:
        redis.DataError: an argument is not bytes, str, int or float.
        UnicodeEncodeError: an argument is text that UTF-8 cannot express.
    """
    for arg in args:
        kind = arg.__class__  # faster than type()
        if kind is not str and kind is not bytes:
            break
    else:
        try:
            return _pack(args)
        except TypeError:
            pass  # something is not what it claims to be
    return _pack(tuple([arg if type(arg) in _PACKED else encode(arg) for arg in args]))


def pack_all(commands: Iterable[tuple[Any, ...]]) -> bytes:
    """Return several commands packed as one. Raises as `pack`."""
    packed = []
    for args in commands:
        if len(args) == 2 and type(args[1]) is str:  # a name and a key: most of them
            packed.append(_pack(args))
        else:
            packed.append(pack(args))
    return b"".join(packed)


class Packer:
    """Packs the commands of redis-py's own connections, so that its handshake is safe as well."""

    def pack(self, *args: Any) -> list[bytes]:
        """Return a command packed, whose name may be several words, as redis-py gives it."""
        head = args[0].encode() if isinstance(args[0], str) else args[0]
        return [pack((*head.split(), *args[1:]))]


class ArgumentEncoder(Encoder):
    """Does as `Packer` for redis-py's asyncio connections, which encode argument by argument."""

    def encode(self, value: Any) -> bytes | memoryview:
        """Return an argument as bytes. A view of bytes stays one, for redis-py does not copy it."""
        if type(value) is memoryview and value.itemsize == value.ndim == 1 and value.contiguous:
            return value
        return encode(value, self.encoding, self.encoding_errors)


OPTIONS: Mapping[str, Any] = {
    **_no_maintenance(redis.Redis),
    "command_packer": Packer(),
}
"""The options of every blocking redis-py connection."""

ASYNC_OPTIONS: Mapping[str, Any] = {
    **_no_maintenance(redis.asyncio.Redis),
    "encoder_class": ArgumentEncoder,
}
"""The options of every asyncio redis-py connection."""
