"""`sentinel list` and `doctor` with Sentinels that reply nonsense, slowly, endlessly or never.

And with one that does not know the other Sentinels of a new shard yet.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from cachemesh.local.doctor.pool import examine_pool
from tests.support.rogue_server import HANG_UP, Server, Words
from tests.support.sentinels import pool_file
from tests.support.waiting import in_time

Reply = Callable[[Words], "bytes | None"]

BOUND = 6.0  # seconds
"""Seconds within which a command ends; each takes less than ten."""


def resp(value: object) -> bytes:
    """Encode a reply in RESP2."""
    if isinstance(value, (list, tuple)):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n"
    text = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%s\r\n" % (len(text), text)


MASTER = {
    "name": "cache-0",
    "ip": "127.0.0.1",
    "port": "6379",
    "flags": "master",
    "quorum": "2",
    "num-other-sentinels": "2",
}
REPLICA = {"ip": "127.0.0.1", "port": "6380", "flags": "slave"}


def fields(row: dict[str, Any]) -> list[Any]:
    return [part for pair in row.items() for part in pair]


def sentinel(
    at: Any = ("127.0.0.1", "6379"),
    master: Any = None,
    quorum: bytes = b"+OK 3 usable\r\n",
    replicas: Any = None,
) -> Reply:
    """Make a Sentinel's replies, some of them the test's own."""
    row = fields(MASTER) if master is None else master
    replies = {
        b"GET-MASTER-ADDR-BY-NAME": resp(at),
        b"MASTER": resp(row),
        b"MASTERS": resp([row]),
        b"CKQUORUM": quorum,
        b"REPLICAS": resp([fields(REPLICA)] if replicas is None else replicas),
        b"SENTINELS": resp([]),
    }

    def answer(words: Words) -> bytes | None:
        if words[0].upper() == b"SENTINEL":
            return replies.get(words[1].upper(), b"-ERR unknown\r\n")
        return b"+PONG\r\n"

    return answer


def always(reply: bytes | None) -> Reply:
    return lambda words: reply


ODD: dict[str, Reply] = {
    "says nothing": always(None),
    "hangs up": always(HANG_UP),
    "is a web server": always(b"HTTP/1.1 400 Bad Request\r\n\r\n" + HANG_UP),
    "is bytes": always(b"\x00\xff\x1b[31m\r\n"),
    "is no sentinel": always(b"-ERR unknown command 'SENTINEL'\r\n"),
    "wants a password": always(b"-NOAUTH Authentication required.\r\n"),
    "says a number": always(b":1\r\n"),
    "says nil": always(b"*-1\r\n"),
    "says text": always(b"+\x1b[31mred\r\n"),
    "says an empty list": always(b"*0\r\n"),
    "nests": always(b"*1\r\n" * 5000 + b":1\r\n"),
    "promises a huge list": always(b"*1000000000\r\n"),
    "promises a huge text": always(b"$1000000000\r\n"),
    "says a negative length": always(b"$-7\r\n"),
    "has an address of numbers": sentinel(at=(1, 2)),
    "has an address of three": sentinel(at=("a", "b", "c")),
    "has an address of lists": sentinel(at=([], [])),
    "has a port of words": sentinel(at=("127.0.0.1", "x")),
    "has a port out of range": sentinel(at=("127.0.0.1", "99999")),
    "has a host of escapes": sentinel(at=("\x1b[2J", "1")),
    "has an odd row": sentinel(master=["name"]),
    "has a row of numbers": sentinel(master=[1, 2, 3, 4]),
    "has a row of lists": sentinel(master=[[], []]),
    "has a row without fields": sentinel(master=["name", "cache-0"]),
    "has flags of numbers": sentinel(master=fields(MASTER | {"flags": 1})),
    "has a quorum of words": sentinel(master=fields(MASTER | {"quorum": "two"})),
    "has a quorum of 5,000 digits": sentinel(master=fields(MASTER | {"quorum": "9" * 5000})),
    "has a name of numbers": sentinel(master=fields(MASTER | {"name": 1}), quorum=b"-NOQUORUM\r\n"),
    "has a quorum that is a list": sentinel(quorum=b"*0\r\n"),
    "has replicas that are text": sentinel(replicas="x"),
    "has a replica that is text": sentinel(replicas=["x"]),
    "has a replica without address": sentinel(replicas=[["flags", "slave"]]),
    "has a replica of escapes": sentinel(replicas=[fields(REPLICA | {"ip": "\x1b]0;x\x07"})]),
}

_ACCEPTABLE = ("says nil", "has a name of numbers")
"""A reply about a shard that the Sentinel does not monitor, and a field that is not used."""


class Endless(Server):
    """Sends the same bytes for ever to every connection.

    Args:
        data: what is sent again and again.
        pause: seconds in between.
    """

    def __init__(self, data: bytes, pause: float) -> None:
        self._data, self._pause = data, pause
        self._closed = threading.Event()
        super().__init__(lambda _: None)

    def close(self) -> None:
        """Close the server, and stop sending."""
        self._closed.set()
        super().close()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while not self._closed.wait(self._pause):
                sock.sendall(self._data)


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as started:
        yield started


def listed(url: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what `sentinel list` prints about each Sentinel, in time and as JSON."""
    began = time.monotonic()
    assert cli.run(["--url", url, "sentinel", "list", "-o", "json"]) == 0
    in_time(time.monotonic() - began, BOUND)
    captured = capsys.readouterr()
    assert captured.err == ""
    found: list[dict[str, Any]] = json.loads(captured.out)["sentinels"]
    return found


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_sentinel_is_one_line_beside_a_good_one(
    stack: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    good = stack.info["sentinels"][0]
    with Server(ODD[odd]) as server:
        name, url = (
            f"sentinel {server}",
            pool_file(tmp_path / "pool.json", [str(server), good], ["cache-0"]),
        )
        strange, fine = listed(url, capsys)
        checks = {check.name: check for check in examine_pool(url, None, {})}
    assert fine["shards"][0]["master"] == stack.info["shards"][0]["master"]
    assert checks[f"sentinel {good}"].state == "ok"
    assert checks[name].state == "fail"
    if odd not in _ACCEPTABLE:
        assert (strange["up"], strange["shards"]) == (False, [])
        assert strange["error"]


@pytest.mark.parametrize(
    ("data", "pause"), [(b"*", 0.2), (b"$9\r\n123456789\r\n" * 5000, 0), (b"x" * 65536, 0)]
)
@pytest.mark.parametrize("password", ["", "&sentinel_password=x"])
def test_a_sentinel_that_never_ends_is_bounded(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    data: bytes,
    pause: float,
    password: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("cachemesh.discovery.survey", "cachemesh.local.doctor.instance_findings"):
        monkeypatch.setattr(f"{module}.TIMEOUT", 0.5)
        monkeypatch.setattr(f"{module}.WITHIN", 1.0)
    with Endless(data, pause) as endless:
        url = f"{pool_file(tmp_path / 'pool.json', [str(endless)], ['cache-0'])}?{password}"
        (strange,) = listed(url, capsys)
        assert not strange["up"]
        began = time.monotonic()
        checks = {check.name: check for check in examine_pool(url, None, {})}
        in_time(time.monotonic() - began, BOUND)
        assert checks[f"sentinel {endless}"].state == "fail"
        assert checks["master cache-0"].detail == "no Sentinel names one"


@pytest.mark.parametrize("odd", ODD)
def test_a_pool_that_only_an_odd_sentinel_knows(
    capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    """The command may fail or not; it ends, without a traceback."""
    with Server(ODD[odd]) as server:
        url = f"cachemesh+sentinel://{server}/cache"
        began = time.monotonic()
        code = cli.run(["--url", url, "sentinel", "list"])
        assert code in (0, 1, 3, 4)
        list(examine_pool(url, None, {}))
        in_time(time.monotonic() - began, BOUND)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "\x1b" not in captured.out + captured.err


@pytest.mark.parametrize("meets", [True, False])
def test_a_sentinel_that_does_not_know_the_others_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meets: bool
) -> None:
    """The others of a shard that was just added become known within seconds."""
    monkeypatch.setattr("cachemesh.local.doctor.shards._INTRODUCED_WITHIN", 60 if meets else 0.5)
    alone = sentinel(
        master=fields(MASTER | {"num-other-sentinels": "0"}),
        quorum=b"-NOQUORUM 1 usable Sentinels. Not enough available Sentinels\r\n",
    )
    with Server(sentinel()) as other, Server(alone) as late:

        def answer(words: Words) -> bytes | None:
            reply = alone(words)
            if meets and words[1:2] == [b"REPLICAS"]:  # the last question of the first round
                late.answer = sentinel()
            return reply

        late.answer = answer
        url = pool_file(tmp_path / "pool.json", [str(late), str(other)], ["cache-0"])
        checks = {check.name: check for check in examine_pool(url, None, {})}
        assert checks[f"sentinel {other}"].state == "ok"
        assert checks[f"sentinel {late}"].state == ("ok" if meets else "fail")
