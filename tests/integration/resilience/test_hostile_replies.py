"""Replies of a hundred hostile kinds, in turn: the threads of a client live, its memory is bounded,
and each time it follows the next good one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import hiredis
import pytest
import redis

from cachemesh.core.errors import MetaserverUnavailableError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.metaserver import MetaserverClient
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.malformed_replies_to_clients import INSTANCE, SENTINEL, Reply, http, metaserver
from tests.support.sentinels import pool_file
from tests.support.waiting import until
from tests.support.watching_client import Watching

THREADS = ("cachemesh-watch", "cachemesh-poll", "cachemesh-hear")
PEAK_MIB = 300
CLIENTS_AT_ONCE = 6  # most of their time they wait for a backoff


def follows(kind: str, condition: Callable[[], bool], client: Watching | None = None) -> None:
    """Wait until the good reply is followed that came after this kind."""
    try:
        until(condition)
    except AssertionError as error:
        knows = "" if client is None else f": {client.state}, {client.said[-20:]}"
        raise AssertionError(f"after {kind}{knows}") from error


def speak(sock: socket.socket, reply: Reply) -> None:
    """Say it and hang up."""
    with sock, suppress(OSError):
        if callable(reply):
            reply(sock)
        else:
            sock.sendall(reply)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(10)
        while sock.recv(65_536):
            pass  # what was asked and not read would end the connection before the reply is read


def good_document(version: int, leads_to: str) -> dict[str, Any]:
    placement = SlotsPlacement.even([Shard("cache-0")])
    return PoolDocument("cache", version, placement, sentinels=(leads_to,)).to_dict()


class FakeMetaserver(rogue_server.Server):
    """Holds watch calls until it has a newer document, or is to say something else first."""

    def __init__(self, leads_to: str) -> None:
        self._leads_to = leads_to
        self._changed = threading.Condition()
        self.version = 1
        self._bad: list[Reply] = []
        super().__init__(lambda _: None)

    def document(self) -> dict[str, Any]:
        return good_document(self.version, self._leads_to)

    def say(self, reply: Reply) -> None:
        """To the next watch call; then comes a newer document."""
        with self._changed:
            self._bad.append(reply)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: not self._bad, 60)
            self.version += 1
            self._changed.notify_all()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            self._answer_one(sock)

    def _answer_one(self, sock: socket.socket) -> None:
        head, _, body = sock.recv(65_536).partition(b"\r\n\r\n")
        if head.startswith(b"GET"):
            speak(sock, http(json.dumps(self.document())))
        elif head.startswith(b"POST"):
            known = json.loads(body or sock.recv(65_536))["version"]
            with self._changed:
                self._changed.wait_for(lambda: self._bad or self.version > known, 25)
                if self._bad:
                    reply = self._bad.pop()
                    self._changed.notify_all()
                else:
                    reply = http(json.dumps({"document": self.document(), "lease": 30}))
            speak(sock, reply)
        else:
            speak(sock, http("", "204 No Content"))


def test_a_client_follows_on_after_each_reply_of_a_metaserver() -> None:
    kinds = list(metaserver(good_document(1, "127.0.0.1:1")))
    with ThreadPoolExecutor(CLIENTS_AT_ONCE) as at_once:
        parts = [kinds[n::CLIENTS_AT_ONCE] for n in range(CLIENTS_AT_ONCE)]
        assert list(at_once.map(follow_on, parts)) == parts


def follow_on(kinds: list[str]) -> list[str]:
    """Have a client of its own get each of these replies in turn; return them."""
    masters = {"cache-0": ("127.0.0.1", 1)}
    with (
        rogue_server.Server(rogue_server.sentinel(masters)) as leads_there,
        FakeMetaserver(str(leads_there)) as fake,
        Watching(f"cachemesh://{fake}/cache") as client,
    ):
        until(lambda: client.state)
        for kind in kinds:
            fake.say(metaserver(good_document(fake.version + 1, str(leads_there)))[kind])
            follows(kind, lambda: client.state["versions"][0] == fake.version, client)
            alive = client.state["threads"]
            assert [alive.get(name) for name in THREADS] == [1, 1, 1], kind
        assert client.state["peak_mib"] < PEAK_MIB
    assert not [line for line in client.said if "Traceback" in line], client.said
    return kinds


class FakeSentinel(rogue_server.Server):
    """A Sentinel that is told what to say next, to a question and to those who subscribe.

    Attributes:
        to_ask, to_hear: what it says next, once; None: what is true.
        port: of the master, as it says.
        answers: whether it answers questions at all.
    """

    def __init__(self) -> None:
        self.port = 1
        self.answers = True
        self.to_ask: Reply | None = None
        self._subscribed: list[socket.socket] = []
        super().__init__(self._say)

    def _say(self, words: rogue_server.Words) -> bytes | None:
        return rogue_server.sentinel({"cache-0": ("127.0.0.1", self.port)})(words)

    def _serve(self, sock: socket.socket) -> None:
        reader = hiredis.Reader()
        with sock, suppress(OSError):
            while data := sock.recv(65_536):
                reader.feed(data)
                while words := reader.gets():
                    if words[0] == b"SENTINEL" and self.to_ask is not None:
                        reply, self.to_ask = self.to_ask, None
                        speak(sock, reply)
                        return
                    if words[0] == b"SENTINEL" and not self.answers:
                        return
                    sock.sendall(self._say(words) or b"")
                    if words[:2] == [b"SUBSCRIBE", b"+switch-master"]:
                        self._subscribed.append(sock)

    def publish(self, reply: Reply) -> None:
        """To whoever is subscribed, once somebody is."""
        until(lambda: self._subscribed)
        subscribed, self._subscribed = self._subscribed, []
        for sock in subscribed:
            threading.Thread(target=speak, args=(sock, reply), daemon=True).start()

    def switch(self) -> int:
        """Publish another master, once somebody is subscribed; its port."""
        old, self.port = self.port, self.port + 1
        text = b"cache-0 127.0.0.1 %d 127.0.0.1 %d" % (old, self.port)
        message = b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%d\r\n%s\r\n"
        until(lambda: self._subscribed)
        for sock in self._subscribed:
            with suppress(OSError):
                sock.sendall(message % (len(text), text))
        return self.port


POOLS = 8


@contextmanager
def sentinel_pools(directory: Path, poll_interval: float) -> Iterator[tuple[list[Any], Watching]]:
    """Pools with a Sentinel each, and a process that follows them all."""
    with ExitStack() as several:
        fakes = [several.enter_context(FakeSentinel()) for _ in range(POOLS)]
        urls = [
            pool_file(
                directory / f"{at}.json", [str(fake)], ["cache-0"], poll_interval=poll_interval
            )
            for at, fake in enumerate(fakes)
        ]
        client = several.enter_context(Watching(*urls))
        until(lambda: client.state)
        yield fakes, client


def check(client: Watching) -> None:
    alive = client.state["threads"]
    assert [alive.get(name) for name in THREADS] == [POOLS] * 3
    assert client.state["peak_mib"] < PEAK_MIB
    assert not [line for line in client.said if "Traceback" in line], client.said


def leads_to(kind: str, at: int, port: int, client: Watching) -> None:
    master = f"127.0.0.1:{port}"
    follows(kind, lambda: client.state["masters"][at] == master, client)


def in_turn(body: Any) -> None:
    """Each pool meets its part of the kinds one after the other."""
    with ThreadPoolExecutor(POOLS) as threads:
        list(threads.map(body, range(POOLS)))


def test_a_client_follows_on_after_each_answer_of_a_sentinel(tmp_path: Path) -> None:
    with sentinel_pools(tmp_path, poll_interval=0.1) as (fakes, client):

        def meet(at: int) -> None:
            fake = fakes[at]
            for kind in list(SENTINEL)[at::POOLS]:
                fake.to_ask = SENTINEL[kind]
                until(lambda: fake.to_ask is None)
                fake.port += 1
                leads_to(kind, at, fake.port, client)

        in_turn(meet)
        check(client)


def test_a_client_hears_on_after_each_message_of_a_sentinel(tmp_path: Path) -> None:
    with sentinel_pools(tmp_path, poll_interval=3600.0) as (fakes, client):

        def meet(at: int) -> None:
            fake = fakes[at]
            fake.answers = False
            for kind in list(SENTINEL)[at::POOLS]:
                fake.publish(SENTINEL[kind])
                leads_to(kind, at, fake.switch(), client)

        in_turn(meet)
        check(client)


@pytest.mark.parametrize("trickle", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"A: b\r\n"])
def test_a_metaserver_that_never_ends_costs_one_timeout(trickle: bytes) -> None:
    begins = b"" if trickle.startswith(b"H") else b"HTTP/1.1 200 OK\r\n"
    done = threading.Event()

    def answer(sock: socket.socket) -> None:
        with suppress(OSError):
            sock.sendall(begins)
            while not done.wait(0.05):
                sock.sendall(trickle)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            sock, _ = listener.accept()
            with sock:
                answer(sock)

        thread = threading.Thread(target=accept)
        thread.start()
        host, port = listener.getsockname()
        with pytest.raises(MetaserverUnavailableError, match="no answer in time"):
            MetaserverClient([f"{host}:{port}"], timeout=0.3).request("GET", "/v1/pools")
        done.set()
        thread.join()


class FakeInstance(rogue_server.Server):
    """An instance that serves and is measured as one should be, until it is told what to say.

    Args:
        name: what it answers to GET.
        info: what it answers to INFO.

    Attributes:
        bad: what it says instead: to all but the handshake, and if ``rude`` to that as well.
    """

    def __init__(self, name: bytes, info: bytes) -> None:
        self.bad: bytes | None = None
        self.rude = False
        self._good = {b"GET": b"$1\r\n%s\r\n" % name, b"INFO": b"$%d\r\n%s\r\n" % (len(info), info)}
        super().__init__(self._say)

    def _say(self, words: rogue_server.Words) -> bytes | None:
        bad, greeting = self.bad, rogue_server.greeting(words)
        if bad is not None and (greeting is None or self.rude):
            return bad
        return greeting or self._good.get(words[0].upper(), b"+PONG\r\n")


MASTER = b"role:master\r\nmaster_replid:a\r\nmaster_repl_offset:7\r\n"
REPLICA = (
    b"role:slave\r\nmaster_replid:a\r\nslave_repl_offset:7\r\nmaster_sync_in_progress:0\r\n"
    b"master_link_status:up\r\n"
)
PLAIN = {kind: reply for kind, reply in INSTANCE.items() if isinstance(reply, bytes)}
"""The others are endless, and an app may have stored as much."""


@contextmanager
def replicated(directory: Path) -> Iterator[tuple[str, FakeInstance, FakeInstance]]:
    """The URL of a pool of a master and a replica."""
    with ExitStack() as several:
        master = several.enter_context(FakeInstance(b"M", MASTER))
        replica = several.enter_context(FakeInstance(b"R", REPLICA))
        host, port = map(str, replica.address)
        row = ("name", "r", "ip", host, "port", port, "flags", "slave")
        rows = "*1\r\n*8\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in row)
        names = rogue_server.sentinel({"cache-0": master.address})

        def answer(words: rogue_server.Words) -> bytes | None:
            return rows.encode() if words[1:2] == [b"REPLICAS"] else names(words)

        sentinel = several.enter_context(rogue_server.Server(answer))
        file = directory / f"{sentinel.address[1]}.json"
        yield pool_file(file, [str(sentinel)], ["cache-0"]), master, replica


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_client_goes_on_after_each_reply_of_an_instance(kind: str, tmp_path: Path) -> None:
    def meet(at: int) -> None:
        with (
            replicated(tmp_path) as (url, master, replica),
            calling(kind, url, read_from="prefer_replica", socket_timeout=0.5) as caller,
        ):

            def read() -> object:
                try:
                    return caller(lambda mesh: mesh.get("k"))
                except redis.RedisError:
                    return None

            until(lambda: read() == b"R")
            for name in list(PLAIN)[at::POOLS]:
                for rude in (False, True):
                    for fake in (master, replica):
                        fake.rude, fake.bad = rude, PLAIN[name]
                    read(), read(), read()
                    for fake in (master, replica):
                        fake.bad = None
                        fake.hang_up()
                    # Only one that measures the replica reads from it again.
                    follows(name, lambda: read() == b"R")

    in_turn(meet)
