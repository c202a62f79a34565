"""Servers that answer garbage, too much, too little, or never: a clear error, that connection
dropped, other shards unharmed, and never a wrong reply to the next command."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

import cachemesh
from cachemesh import CacheMesh
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import LocalStack
from tests.support.rogue_server import (
    HANG_UP,
    Answer,
    Server,
    Words,
    after_greeting,
    greeting,
    sentinel,
)
from tests.support.waiting import AT_MOST, in_time

TIMEOUT = 1.0
NO_MESSAGE = (b"$-1\r\n", b"*0\r\n")  # a client waits 5 s for what is one
NESTED = b"*1\r\n" * 1_000_000 + b":1\r\n"
BROKEN = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a closed connection": HANG_UP,
    "half a reply, closed": b"$5\r\nab" + HANG_UP,
    "half a reply": b"$5\r\nab",
    "nothing": None,
    "a header of 600 MB": b"$629145600\r\nabc",
    "an array of 2^32 - 1": b"*4294967295\r\n:1\r\n",
    "a length below zero": b"$-7\r\n",
    "a million arrays in each other": NESTED,
}


@dataclass
class Pool:
    """A pool whose shard cache-0 is the attacker, and cache-1 a real server."""

    url: str
    attacker: Server
    bad: list[str]
    good: list[str]

    def connect(self, **options: Any) -> Any:
        options.setdefault("socket_timeout", TIMEOUT)
        return CacheMesh.from_url(self.url, decode_responses=True, **options)

    def run(self, body: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            options.setdefault("socket_timeout", TIMEOUT)
            async with AsyncCacheMesh.from_url(self.url, decode_responses=True, **options) as mesh:
                return await body(mesh)

        return asyncio.run(main())


@pytest.fixture(scope="module")
def real() -> Iterator[LocalStack]:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as running:
        yield running


@pytest.fixture
def pool(real: LocalStack, tmp_path: Path) -> Iterator[Pool]:
    host, port = real.info["shards"][0]["master"].split(":")
    with Server(after_greeting(None)) as attacker:
        masters = {"cache-0": attacker.address, "cache-1": (host, int(port))}
        with Server(sentinel(masters)) as leads_there:
            placement = SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")])
            document = PoolDocument("cache", 1, placement, sentinels=(str(leads_there),))
            path = tmp_path / "cache.json"
            path.write_text(document.to_json())
            keys = [f"k{i}" for i in range(40)]
            bad = [key for key in keys if placement.shard_for(key) == "cache-0"]
            good = [key for key in keys if placement.shard_for(key) == "cache-1"]
            # The Sentinel is threads of this process, which may be busy.
            url = f"cachemesh+file://{path}?sentinel_timeout={AT_MOST}"
            yield Pool(url, attacker, bad, good)


def calls(pool: Pool) -> list[Callable[[Any], Any]]:
    """Return calls that reach the attacker, of both clients."""
    bad, good = pool.bad, pool.good
    return [
        lambda mesh: mesh.get(bad[0]),
        lambda mesh: mesh.set(bad[0], "x"),
        lambda mesh: mesh.mget(bad[0], good[0]),
        lambda mesh: mesh.dbsize(),
        lambda mesh: mesh.pipeline(transaction=False).get(bad[0]).get(good[0]).execute(),
        lambda mesh: mesh.pipeline().get(bad[0]).get(good[0]).execute(),
        lambda mesh: mesh.pipeline(transaction=True).get(bad[0]).execute(),
        lambda mesh: mesh.blpop([bad[0]], timeout=0.01),
    ]


@pytest.mark.parametrize("attack", BROKEN)
def test_it_is_an_error_that_names_the_shard(pool: Pool, attack: str) -> None:
    pool.attacker.answer = after_greeting(BROKEN[attack])
    match = f"^Shard 'cache-0' at {pool.attacker}: ."
    with pool.connect() as mesh:
        for call in calls(pool):
            started = time.monotonic()
            with pytest.raises(cachemesh.ShardUnavailableError, match=match):
                call(mesh)
            in_time(time.monotonic() - started, TIMEOUT)
            assert mesh.set(pool.good[0], attack) is True
            assert mesh.get(pool.good[0]) == attack

        pool.attacker.answer = after_greeting(b"$1\r\nA\r\n")
        assert [mesh.get(key) for key in pool.bad] == ["A"] * len(pool.bad), "nothing is left over"

    async def body(mesh: Any) -> None:
        for call in calls(pool):
            started = time.monotonic()
            got: Any = await asyncio.gather(
                call(mesh),
                mesh.set(pool.good[0], attack),
                mesh.get(pool.good[0]),
                return_exceptions=True,
            )
            assert isinstance(got[0], cachemesh.ShardUnavailableError), got[0]
            assert str(got[0]).startswith(f"Shard 'cache-0' at {pool.attacker}: ")
            assert list(got[1:]) == [True, attack]
            in_time(time.monotonic() - started, TIMEOUT)
        pool.attacker.answer = after_greeting(b"$1\r\nA\r\n")
        assert await asyncio.gather(*map(mesh.get, pool.bad)) == ["A"] * len(pool.bad)

    pool.attacker.answer = after_greeting(BROKEN[attack])
    pool.run(body)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "a moment later"])
def test_a_reply_that_nobody_asked_for_is_never_taken(pool: Pool, later: bool) -> None:
    """Wherever the reply is there before the next command is sent: afterwards, none can tell."""
    extra = b"$4\r\nEVIL\r\n"

    def echo(words: Words) -> bytes | None:
        if (said := greeting(words)) is not None:
            return said
        value = words[-1]
        return b"$%d\r\n%s\r\n" % (len(value), value) + (b"" if later else extra)

    def push() -> None:
        if later:
            pool.attacker.push(extra)

    pool.attacker.answer = echo
    with pool.connect() as mesh:
        for key in pool.bad[:6]:
            assert mesh.get(key) == key
            push()
            assert mesh.pipeline(transaction=False).get(key).execute() == [key]
            push()
    assert pool.attacker.connections > 10, "a connection that says too much is dropped"

    async def body(mesh: Any) -> None:
        for key in pool.bad[:8]:
            assert await mesh.get(key) == key
            await asyncio.to_thread(push)
            await asyncio.sleep(0.01)  # a turn of the loop, which reads what is there

    pool.run(body)


@pytest.mark.parametrize(
    "reply", [b":1\r\n", b"$-1\r\n", b"*0\r\n", b"%1\r\n+a\r\n+b\r\n", b"$1\r\nA\r\n"]
)
def test_a_reply_of_the_wrong_form_is_an_error_where_replies_are_put_together(
    pool: Pool, reply: bytes
) -> None:
    pool.attacker.answer = after_greeting(reply)
    many = [*pool.bad, *pool.good]
    with pool.connect() as mesh:
        with pytest.raises(redis.InvalidResponse):
            mesh.mget(many)
        assert mesh.set(pool.good[0], "v") is True

        if reply not in NO_MESSAGE:
            with mesh.pubsub() as pubsub, pytest.raises(cachemesh.ShardUnavailableError):
                pubsub.subscribe(pool.bad[0])

    async def body(mesh: Any) -> None:
        with pytest.raises(redis.InvalidResponse):
            await mesh.mget(many)
        assert await mesh.set(pool.good[0], "v") is True

    pool.run(body)


def saying(role: bytes) -> Answer:
    """A server that greets as a master does, but replies to ROLE as it is told."""
    return lambda words: role if words[0] == b"ROLE" else greeting(words)


HANDSHAKES: dict[str, Answer] = {
    "garbage": lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a closed connection": lambda _: HANG_UP,
    "nothing": lambda _: None,
    "numbers": lambda _: b":1\r\n",
    "nil": lambda _: b"$-1\r\n",
    "empty lists": lambda _: b"*0\r\n",
    "an odd role": saying(b"*1\r\n:7\r\n"),
    "a role that is a map": saying(b"%1\r\n+a\r\n+b\r\n"),
    "a role that is no text": saying(b"*1\r\n$2\r\n\xff\xfe\r\n"),
}


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("attack", HANDSHAKES)
def test_a_handshake_that_is_none(pool: Pool, attack: str, protocol: int) -> None:
    pool.attacker.answer = HANDSHAKES[attack]
    with pool.connect(protocol=protocol) as mesh:
        for call in (calls(pool)[0], calls(pool)[6]):
            with pytest.raises(cachemesh.ShardUnavailableError, match=r"^Shard 'cache-0' at "):
                call(mesh)
        assert mesh.set(pool.good[0], "v") is True

    async def body(mesh: Any) -> None:
        for call in (calls(pool)[0], calls(pool)[6]):
            with pytest.raises(cachemesh.ShardUnavailableError, match=r"^Shard 'cache-0' at "):
                await call(mesh)
        assert await mesh.set(pool.good[0], "v") is True

    pool.run(body, protocol=protocol)


def test_a_sentinel_that_answers_nonsense() -> None:
    def saying_only(reply: bytes) -> Answer:
        return lambda words: b"+OK\r\n" if words[0] == b"CLIENT" else reply

    numbers, texts = b"*1\r\n:1\r\n", b"*2\r\n+a\r\n+b\r\n"
    for reply in (b":1\r\n", b"$-1\r\n", b"+OK\r\n", numbers, texts, NESTED):
        with (
            Server(saying_only(reply)) as fake,
            CacheMesh.from_url(f"cachemesh+sentinel://{fake}/cache") as mesh,
            pytest.raises((cachemesh.SentinelUnavailableError, cachemesh.PoolNotFoundError)),
        ):
            mesh.get("a")


def test_an_undecodable_value_harms_no_other_command(real: LocalStack) -> None:
    url = real.info["url"]
    with CacheMesh.from_url(url) as raw:
        raw.mset({"binary": b"\xff\xfe", "text": "t"})

    async def main() -> None:
        async with AsyncCacheMesh.from_url(url, decode_responses=True) as client:
            mesh: Any = client
            got: list[Any] = await asyncio.gather(
                *(mesh.get("binary" if i % 3 == 0 else "text") for i in range(30)),
                mesh.mget("text", "binary"),
                mesh.pipeline(transaction=False).get("binary").get("text").execute(False),
                mesh.get("text"),
                return_exceptions=True,
            )
            assert [type(item) for item in got[:30:3]] == [UnicodeDecodeError] * 10
            assert set(got[1:30:3] + got[2:30:3] + got[32:]) == {"t"}
            assert isinstance(got[30], UnicodeDecodeError)
            assert isinstance(got[31][0], UnicodeDecodeError)
            assert got[31][1] == "t"

    asyncio.run(main())
    with CacheMesh.from_url(url, decode_responses=True) as mesh:
        with pytest.raises(UnicodeDecodeError):
            mesh.get("binary")
        assert mesh.get("text") == "t"


_BIG_REPLY = """
import asyncio, resource, sys
from cachemesh import CacheMesh, ShardUnavailableError
from cachemesh.asyncio import CacheMesh as AsyncCacheMesh

url = sys.argv[1]


async def main():
    patient = {"command_timeout": 600}  # 150 MB may take their time
    with CacheMesh.from_url(url, **patient) as sync:
        async with AsyncCacheMesh.from_url(url, **patient) as mesh:
            assert sync.get("small") == await mesh.get("small") == b"s"  # now all threads run
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 100_000_000,) * 2)
            try:
                sync.get("big")
            except ShardUnavailableError as error:
                print(error)
            try:
                await mesh.get("big")
            except ShardUnavailableError as error:
                print(error)
            assert sync.get("small") == await mesh.get("small") == b"s"


asyncio.run(main())
"""


def test_a_reply_larger_than_memory(real: LocalStack) -> None:
    url = real.info["url"]
    with CacheMesh.from_url(url) as mesh:
        mesh.mset({"big": b"x" * 150_000_000, "small": "s"})
        try:
            done = subprocess.run(
                [sys.executable, "-c", _BIG_REPLY, url],
                capture_output=True,
                text=True,
                cwd=Path(__file__).parents[3],
            )
        finally:
            mesh.delete("big")
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().count("memory") == 2, done.stdout
    assert done.stderr == ""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
