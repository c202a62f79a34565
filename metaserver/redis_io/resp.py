"""Reading RESP2 replies from servers that may be hostile.

Every size of a reply is bounded before memory is allocated for it: its bytes, the number of its
elements, the depth of nested lists, the length of a line, and numbers. Replies are read in pieces
of 16 KiB, between which other greenlets run.

Neither reader of redis-py does that. hiredis allocates as many elements as a list announces:
gigabytes for a reply of eleven bytes. The reader in Python accepts lines and texts of any length.
In both, the timeout is that of one piece, so a server that sends a byte now and then is waited for
without end.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import hiredis
import redis

from metaserver.redis_io.reply_parsers import NotRedisError, printable, whole

Reply: TypeAlias = "bytes | int | list[Reply] | redis.RedisError | None"
"""An error reply is a value, which the caller raises."""

_LINE = 4096  # bytes of a line: a status, an error or a number
_DEPTH = 8  # nested lists; the replies asked for have three at most
_PIECE = 16 * 1024  # bytes received at once

_SHORT = 256  # bytes of a text
_HEADS = [b"$%d" % size for size in range(_SHORT)]  # the line before each

# redis-py's own table has errors that not every text can be made into, such as MOVED.
_ERRORS: dict[str, type[redis.RedisError]] = {
    "LOADING": redis.BusyLoadingError,
    "NOAUTH": redis.AuthenticationError,
    "NOPERM": redis.exceptions.NoPermissionError,
    "READONLY": redis.ReadOnlyError,
    "WRONGPASS": redis.AuthenticationError,
}


class ReplyTooLargeError(NotRedisError):
    """A reply exceeds its limit of bytes or elements."""


@dataclass(frozen=True)
class Limits:
    """The bytes and list elements that all replies of one exchange may have together."""

    size: int
    elements: int


SMALL = Limits(128 * 1024, 1000)
"""For INFO, ROLE and CONFIG GET of an instance. INFO has 5 to 10 KiB, and 45 bytes more for each
database in use; ROLE has four elements for each replica."""
LARGE = Limits(2 * 1024 * 1024, 50_000)
"""For SCAN, and for Sentinels: SENTINEL MASTERS has 1.2 KiB and 45 elements for each shard."""


def pack(command: Sequence[str | bytes | int]) -> bytes:
    """Return a command as RESP."""
    words: Any = tuple([word if word.__class__ is bytes else str(word) for word in command])
    packed: bytes = hiredis.pack_command(words)
    return packed


def error_of(text: str) -> redis.RedisError:
    """Return an error reply as redis-py's exception, without the code that the class stands for."""
    code, _, rest = text.partition(" ")
    if code == "ERR":
        return redis.ResponseError(rest)
    known = _ERRORS.get(code)
    return redis.ResponseError(text) if known is None else known(rest)


class Stream(Protocol):
    """A connected socket, plain or with TLS; its methods are those of `socket.socket`."""

    def settimeout(self, seconds: float, /) -> None: ...

    def recv(self, size: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class RespSocket:
    """A connected socket to a server that should speak RESP2."""

    def __init__(self, sock: Stream) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._at = 0  # where in the buffer the next unread byte is
        self._size_left = self._elements_left = 0
        self._end = 0.0

    def ask(
        self, commands: Sequence[Sequence[str | bytes | int]], limits: Limits, timeout: float
    ) -> list[Reply]:
        """Send the commands in one write, and return the reply to each.

        After an error the socket cannot be used any more.

        Args:
            limits: of all replies together.
            timeout: seconds for the write, and for each reply.

        Raises:
            NotRedisError: the server does not speak RESP2, or exceeds the limits.
            redis.TimeoutError, redis.ConnectionError, OSError: no reply came in time.
        """
        self._sock.settimeout(timeout)
        self._sock.sendall(b"".join(map(pack, commands)))
        self._size_left, self._elements_left = limits.size, limits.elements
        replies = []
        for _ in commands:
            self._end = time.monotonic() + timeout
            replies.append(self._reply(_DEPTH))
        return replies

    def is_fresh(self) -> bool:
        """Return whether the socket is open, and no unrequested bytes have arrived."""
        if self._at < len(self._buffer):
            return False
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def abort(self) -> None:
        """Make `ask` on another thread fail at once."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _reply(self, depth: int) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return error_of(printable(rest))
        if kind == b":":
            return whole(rest)
        if kind == b"$":
            length = whole(rest)
            return None if length == -1 else self._bulk(length)
        if kind == b"*":
            count = whole(rest)
            return None if count == -1 else self._list(count, depth)
        raise NotRedisError(f"expected a reply, got {line[:40]!r}")

    def _list(self, count: int, depth: int) -> list[Reply]:
        if count < 0:
            raise NotRedisError(f"a list has {count} elements")
        if depth == 0:
            raise NotRedisError(f"lists are nested more than {_DEPTH} deep")
        self._elements_left -= count
        if self._elements_left < 0:
            raise ReplyTooLargeError("the reply has too many elements")
        replies: list[Reply] = []
        all_texts = True  # as far as has been seen
        while len(replies) < count:
            most = count - len(replies)
            texts = self._texts(most) if all_texts else None
            if texts is None:
                all_texts, texts = False, self._texts_one_by_one(most)
            replies += texts
            if len(replies) < count:
                replies.append(self._reply(depth - 1))
        return replies

    def _texts(self, most: int) -> list[bytes] | None:
        """Take the texts that come next and are whole in the buffer.

        Returns:
            None, having taken nothing, where one has a CR LF in it, or something else is there.
        """
        lines = bytes(self._buffer[self._at :]).split(b"\r\n", 2 * most)
        whole = (len(lines) - 1) // 2  # what follows the last CR LF is not whole
        heads, texts = lines[: 2 * whole : 2], lines[1 : 2 * whole : 2]
        sizes = [*map(len, texts)]
        if heads != [_HEADS[size] if size < _SHORT else b"$%d" % size for size in sizes]:
            return None
        self._at += sum(sizes) + sum(map(len, heads)) + 4 * whole
        return texts

    def _texts_one_by_one(self, most: int) -> list[bytes]:
        """Take the texts that come next and are whole in the buffer, whatever is in them."""
        buffer, at, texts = self._buffer, self._at, list[bytes]()
        while len(texts) < most and buffer[at : at + 1] == b"$":
            end = buffer.find(b"\r\n", at, at + _LINE + 2)
            digits = buffer[at + 1 : end]
            stop = end + 2 + int(digits) if end > 0 and digits.isdigit() else -1
            if stop < 0 or buffer[stop : stop + 2] != b"\r\n":
                break  # it is not whole, or not sound: `_reply` tells
            texts.append(bytes(buffer[end + 2 : stop]))
            at = stop + 2
        self._at = at
        return texts

    def _bulk(self, length: int) -> bytes:
        if length < 0:
            raise NotRedisError(f"a text has {length} bytes")
        if length > self._size_left + len(self._buffer) - self._at:
            raise ReplyTooLargeError(f"the reply has a text of {length:,} bytes, which is too long")
        while len(self._buffer) - self._at < length + 2:
            self._receive()
        end = self._at + length
        if self._buffer[end : end + 2] != b"\r\n":
            raise NotRedisError("a text does not end where it should")
        return self._take(end)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at, self._at + _LINE + 2)) < 0:
            if len(self._buffer) - self._at > _LINE:
                raise NotRedisError(f"a line has more than {_LINE:,} bytes")
            self._receive()
        return self._take(end)

    def _take(self, end: int) -> bytes:
        """Return the unread bytes up to `end`, and skip the CR LF that follows them."""
        taken = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return taken

    def _receive(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise redis.TimeoutError("Timeout reading from socket")
        del self._buffer[: self._at]
        self._at = 0
        self._sock.settimeout(left)
        try:
            data = self._sock.recv(_PIECE)
        except TimeoutError as error:
            raise redis.TimeoutError("Timeout reading from socket") from error
        if not data:
            raise redis.ConnectionError("Connection closed by server.")
        self._size_left -= len(data)
        if self._size_left < 0:
            raise ReplyTooLargeError("the reply has too many bytes")
        self._buffer += data
        time.sleep(0)  # gevent switches only where it has to wait, and a flood never has it wait
