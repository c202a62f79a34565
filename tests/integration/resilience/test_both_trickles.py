"""Replies that come byte by byte, each in time and all of them too late, for every way to send."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import cachemesh
from tests.support.both_clients import CLIENTS, calling
from tests.support.rogue_server import Words
from tests.support.waiting import until
from tests.support.ways_to_send import USES, Master, Use, on, outcome, pool_of

LIMIT = 0.4
SLOWLY = b"$5000\r\n" + b"7" * 5000
ALL = {**USES, "a blocking command": replace(USES["a blocking command"], call=on("blpop", 0.1))}


class Trickling(Master):
    """Says what is bad byte by byte."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        super().__init__()

    def close(self) -> None:
        self._ended.set()
        super().close()

    def write(self, sock: socket.socket, words: Words, reply: bytes) -> None:
        if reply is not self.bad:
            super().write(sock, words, reply)
            return
        for byte in reply:
            sock.sendall(bytes([byte]))
            if self._ended.wait(LIMIT / 8):
                return


def tried(use: Use, kind: str, directory: Path) -> list[Any]:
    """What comes of a call that is answered so; of one that takes a miss; and of the next ones."""
    with (
        pool_of(Trickling(), Trickling(), directory) as pool,
        calling(kind, pool.site.url, command_timeout=LIMIT) as call,
    ):
        misses = call.mesh.with_options(on_error="miss")

        def good() -> Any:
            """Once there is a connection within a limit that a slow machine may miss."""
            pool.say(None, times=0)
            return until(lambda: not isinstance(it := once(call.mesh), Exception) and [it])

        def once(mesh: Any) -> Any:
            return outcome(use, call, mesh, pool.keys())

        came = [good()]
        for mesh in (call.mesh, misses):
            pool.say(SLOWLY)
            came += [once(mesh), good()]
        return came


@pytest.mark.parametrize("kind", CLIENTS)
def test_it_is_a_timeout_and_the_next_call_gets_its_own_reply(kind: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(ALL)) as threads:
        all_came = list(threads.map(lambda use: tried(use, kind, tmp_path), ALL.values()))
    for (name, use), came in zip(ALL.items(), all_came, strict=True):
        first, late, then, missed, last = came
        assert isinstance(late, cachemesh.ShardTimeoutError), (name, late)
        assert isinstance(missed, Exception) != use.misses, (name, missed)
        assert first == then == last, (name, came)
