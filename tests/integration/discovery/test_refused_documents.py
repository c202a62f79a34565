"""A running client refuses documents without shards, older than its own, or not valid."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from tests.support import rogue_server
from tests.support.both_clients import CLIENTS, calling
from tests.support.waiting import AT_MOST, until

HELD = PoolDocument("cache", 5, SlotsPlacement.even([Shard("cache-0")]))


class Scripted(ThreadingHTTPServer):
    """A metaserver that answers the first watch call with `HELD`, later ones as a test says."""

    daemon_threads = True

    def __init__(self, sentinel: str) -> None:
        self.held = HELD.replace(sentinels=(sentinel,))
        self.news: queue.SimpleQueue[object] = queue.SimpleQueue()
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *_: Any) -> None:
        return

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_DELETE(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if call["version"] == 0:
            news: object = self.server.held.to_dict()
        else:
            try:
                news = self.server.news.get(timeout=AT_MOST)
            except queue.Empty:
                return  # the test is over
        self._answer({"changed": True, "document": news, "lease": 30})


@pytest.fixture
def metaserver() -> Iterator[Scripted]:
    scripted = rogue_server.sentinel({"cache-0": ("127.0.0.1", 1)})
    with rogue_server.Server(scripted) as sentinel, Scripted(str(sentinel)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("kind", CLIENTS)
def test_what_would_take_the_pool_away_is_refused(
    kind: str, metaserver: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    held = metaserver.held.to_dict()
    none_left = {**held, "version": 6, "placement": {**held["placement"], "shards": []}}
    port = metaserver.server_address[1]
    with calling(kind, f"cachemesh://127.0.0.1:{port}/cache") as app:
        app(lambda mesh: mesh.load())
        for bad in (none_left, none_left, {**held, "version": 4}, {}):
            metaserver.news.put(bad)
        refused = {"no-shards": 2, "older": 1, "invalid": 1}
        until(lambda: app.mesh.health().topology.refused == refused)
        assert app.mesh.health().topology.version == 5
        assert app.mesh.topology.document.placement.names == ("cache-0",)

        def told() -> list[str]:
            return [each for each in caplog.messages if "is refused, and version 5 stays" in each]

        until(lambda: len(told()) >= len(refused))  # each is logged just after it was counted
        assert len(told()) == len(refused), "once for each kind"
        metaserver.news.put({**held, "version": 7})
        until(lambda: app.mesh.health().topology.version == 7)
