"""Malformed replies to the metaserver: what no instance or Sentinel sends, as plain data.

Well-formed replies stand beside them, for servers that lie in one command only.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import hiredis

from tests.support.rogue_server import HANG_UP, Server, Words

Pieces = Callable[[], Iterator[bytes]]
Odd = bytes | Pieces | None
"""What is sent: bytes, pieces without end, or nothing."""

RUN_ID = "a" * 40


def bulk(text: str | bytes) -> bytes:
    """Encode a RESP bulk string."""
    data = text.encode() if isinstance(text, str) else text
    return b"$%d\r\n%b\r\n" % (len(data), data)


def array(*items: bytes) -> bytes:
    """Encode a RESP array of items that are encoded already."""
    return b"*%d\r\n" % len(items) + b"".join(items)


def words(*texts: object) -> bytes:
    """Encode a RESP array of bulk strings."""
    return array(*(bulk(str(text)) for text in texts))


def info(*lines: str, role: str = "master") -> bytes:
    """Encode the INFO reply of a master, with further lines at its end."""
    known = [
        *("# Server", "redis_version:7.0.15", f"run_id:{RUN_ID}", "uptime_in_seconds:5"),
        *("used_memory:1000", "maxmemory:0", f"role:{role}", "connected_slaves:0"),
        *("connected_clients:1", "master_repl_offset:7", "total_commands_processed:5"),
        *("keyspace_hits:1", "keyspace_misses:1", "db0:keys=3,expires=0,avg_ttl=0"),
    ]
    return bulk("\r\n".join([*known, *lines, ""]))


def slaves(count: int, where: Callable[[int], str]) -> bytes:
    """Encode an INFO reply that names replicas.

    Args:
        count: how many.
        where: number of the replica -> its "ip=...,port=..." fields.
    """
    return info(*(f"slave{n}:{where(n)},state=online,offset=1,lag=0" for n in range(count)))


def forever(piece: bytes, first: bytes = b"", pause: float = 0.0) -> Pieces:
    """Return a function that yields ``first`` and then a piece every ``pause`` seconds."""

    def pieces() -> Iterator[bytes]:
        yield first
        while True:
            yield piece
            time.sleep(pause)  # to come slowly is what this reply is for

    return pieces


MEGABYTE = b"x" * 1_000_000
DIGITS = "9" * 5000

ANY: Mapping[str, Odd] = {
    "hangs": None,
    "hangs up": HANG_UP,
    "an error": b"-ERR no\r\n",
    "an error without end": forever(MEGABYTE, b"-ERR "),
    "a line without end": forever(MEGABYTE, b"+"),
    "a text of a gigabyte": forever(MEGABYTE, b"$1000000000\r\n"),
    "a text longer than any": forever(MEGABYTE, b"$%s\r\n" % DIGITS.encode()),
    "a text of -2 bytes": b"$-2\r\n",
    "a text of x bytes": b"$x\r\n\r\n",
    "a text that ends elsewhere": b"$2\r\nabcd\r\n",
    "no text": b"$-1\r\n",
    "a list of a billion": forever(b":1\r\n" * 1000, b"*1000000000\r\n"),
    "a list of 200,000": b"*200000\r\n" + b":1\r\n" * 200_000,
    "a list of -2": b"*-2\r\n",
    "no list": b"*-1\r\n",
    "an empty list": b"*0\r\n",
    "a list of nothings": array(*[b"$-1\r\n"] * 4),
    "nested 10,000 deep": b"*1\r\n" * 10_000 + b":1\r\n",
    "nested without end": forever(b"*2\r\n" * 10_000),
    "a number": b":7\r\n",
    "a number of 5,000 digits": b":%s\r\n" % DIGITS.encode(),
    "a number that is none": b":nan\r\n",
    "a map of RESP3": b"%1\r\n+a\r\n:1\r\n",
    "a double of RESP3": b",inf\r\n",
    "a push of RESP3": b">2\r\n+a\r\n+b\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "noise": bytes(range(256)) * 16,
    "drips": forever(b"x", b"$100\r\n", pause=0.02),
    "replies without end": forever(b"+OK\r\n" * 100_000),
    "three replies": b"+OK\r\n" * 3,
}

INFO: Mapping[str, Odd] = {
    "numbers of 5,000 digits": info(
        *(f"{name}:{DIGITS}" for name in ("used_memory", "master_repl_offset", "keyspace_hits")),
        f"db0:keys={DIGITS}",
        f"db{DIGITS}:keys=1",
        f"slave{DIGITS}:ip=127.0.0.1,port={DIGITS}",
    ),
    "numbers that are none": info("used_memory:nan", "maxmemory:inf", "uptime_in_seconds:1e9"),
    "numbers of 64 bits and one more": info(f"used_memory:{2**64}", f"db1:keys={2**63}"),
    "negative numbers": info("used_memory:-1", "keyspace_hits:-5", "db0:keys=-3"),
    "2,000 replicas": slaves(2000, lambda n: f"ip=127.0.{n // 250}.{n % 250 + 1},port=1"),
    "3,000 replicas": slaves(3000, lambda n: f"ip=127.0.{n // 250}.{n % 250 + 1},port=1"),
    "replicas outside": slaves(50, lambda n: f"ip=10.9.9.{n},port=6379"),
    "replicas by name": slaves(100, lambda n: f"ip=no-such-host-{n}.invalid,port=6379"),
    "replicas at no address": slaves(9, lambda n: f"ip={'?. :' * n},port={n * 10_000}"),
    "replicas without fields": info("slave0:", "slave1:,,,=,", "slave2:ip", "slave3:port=7"),
    "100,000 lines": info(*(f"field{n}:1" for n in range(100_000))),
    "100,000 databases": info(*(f"db{n}:keys=1" for n in range(100_000))),
    "a value of 100,000 characters": info("redis_version:" + "7" * 100_000),
    "not UTF-8": bulk(b"redis_version:\xff\xfe\r\nrole:\xc3\x28\r\nrun_id:\x00\r\n"),
    "escape sequences": info("redis_version:\x1b[2J\x1b]0;x\x07"),
    "no fields": bulk("\r\n" * 1000),
    "no role": info(role=""),
    "a role of its own": info(role="emperor"),
}

_ROW = ("name", "bad-0", "ip", "127.0.0.1", "port", "6379", "flags", "master", "quorum", "1")


def replicas(count: int, where: Callable[[int], tuple[object, object]]) -> bytes:
    """Encode a SENTINEL REPLICAS reply.

    Args:
        count: how many.
        where: number of the replica -> its ip and port.
    """
    rows = []
    for n in range(count):
        ip, port = where(n)
        rows.append(words("name", "x", "ip", ip, "port", port, "flags", "slave"))
    return array(*rows)


SENTINEL: Mapping[str, tuple[str, Odd]] = {
    "a master outside": ("GET-MASTER-ADDR-BY-NAME", words("10.9.9.9", 6379)),
    "a master by no name": ("GET-MASTER-ADDR-BY-NAME", words("a\r\nb", 6379)),
    "a master at no port": ("GET-MASTER-ADDR-BY-NAME", words("127.0.0.1", DIGITS)),
    "a master of one word": ("GET-MASTER-ADDR-BY-NAME", words("127.0.0.1")),
    "a master of lists": ("GET-MASTER-ADDR-BY-NAME", array(b"*0\r\n", b"*0\r\n")),
    "a shard of odd words": ("MASTER", words("name")),
    "a shard of numbers": ("MASTER", array(b":1\r\n", b":2\r\n")),
    "a quorum of no number": ("MASTER", words(*_ROW[:-1], "nan")),
    "a quorum of 5,000 digits": ("MASTER", words(*_ROW[:-1], DIGITS)),
    "100,000 flags": ("MASTER", words("flags", "a," * 100_000)),
    "options of its own": ("MASTER", words(*_ROW, "down-after-milliseconds", "never\x1b[0m")),
    "3,000 replicas": ("REPLICAS", replicas(3000, lambda n: (f"127.0.{n // 250}.{n % 250}", 1))),
    "replicas outside": ("REPLICAS", replicas(50, lambda n: (f"10.9.9.{n}", 6379))),
    "replicas at no port": ("REPLICAS", replicas(50, lambda n: ("127.0.0.1", n * 70_000))),
    "replicas by odd names": ("REPLICAS", replicas(5, lambda n: ("x\n" * n, 1))),
    "replicas of numbers": ("REPLICAS", array(*[b":1\r\n"] * 50)),
    "a verdict of 100,000 characters": ("CKQUORUM", b"+" + b"OK " * 33_000 + b"\r\n"),
    "a verdict that is a list": ("CKQUORUM", array(b":1\r\n")),
}


class LyingServer(Server):
    """A server that answers as ``honest`` says, except for the commands in `lies`.

    Attributes:
        lies: command -> the malformed reply to send.
        told: how many of those replies were sent.
    """

    def __init__(self, honest: Mapping[str, bytes], host: str = "127.0.0.1") -> None:
        self.honest = dict(honest)
        self.lies: dict[str, Odd] = {}
        self.told = 0
        super().__init__(lambda _: None, host)

    def _serve(self, sock: socket.socket) -> None:
        reader = hiredis.Reader()
        with sock, suppress(OSError):
            while data := sock.recv(65_536):
                reader.feed(data)
                while asked := reader.gets():
                    odd = self._reply(asked)
                    for piece in odd() if callable(odd) else (odd or b"",):
                        sock.sendall(piece.removesuffix(HANG_UP))
                    if odd == HANG_UP:
                        return

    def _reply(self, words: Words) -> Odd:
        name = words[0 if words[0].upper() != b"SENTINEL" else 1].decode().upper()
        if name in self.lies:
            self.told += 1
            return self.lies[name]
        return self.honest.get(name, b"-ERR unknown command\r\n")


@dataclass(frozen=True)
class Case:
    """A malformed reply to try.

    Attributes:
        who: "instance" or "sentinel", the server that sends it.
        command: the command it answers.
        name: for the name of the test.
        odd: the reply.
    """

    who: str
    command: str
    name: str
    odd: Odd

    def __str__(self) -> str:
        return f"{self.who} {self.command}: {self.name}"


ASKED = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "CKQUORUM")

CASES = (
    *(Case("instance", "INFO", name, odd) for name, odd in ANY.items()),
    *(Case("instance", "INFO", name, odd) for name, odd in INFO.items()),
    *(
        Case("sentinel", ASKED[n % len(ASKED)], name, odd)
        for n, (name, odd) in enumerate(ANY.items())
    ),
    *(Case("sentinel", command, name, odd) for name, (command, odd) in SENTINEL.items()),
)
