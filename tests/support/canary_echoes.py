"""Servers that repeat what they were sent, as some do in errors, and proxies in pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import redis

from cachemesh.asyncio import CacheMesh as AsyncCacheMesh
from cachemesh.core.errors import CacheMeshError, MetaserverUnavailableError
from cachemesh.discovery.metaserver import MetaserverClient
from metaserver.process.config import RedisAuth
from metaserver.redis_io.bounded_connection import BoundedConnection
from metaserver.redis_io.sentinel_group import SentinelGroup
from tests.support.canary_apps import use_once
from tests.support.canary_site import APP, OPS, SENTINEL, Site
from tests.support.metaserver_loops import NETWORKS
from tests.support.rogue_server import Server
from tests.support.rogue_server import sentinel as rogue_sentinel
from tests.support.waiting import AT_MOST


def use_echoing_instance(site: Site, at: str, protocol: int) -> None:
    """Log in to an instance that repeats everything, in both clients."""
    host, _, port = at.rpartition(":")
    with Server(rogue_sentinel({"s": (host, int(port))})) as server:
        url = f"cachemesh+sentinel://{server}/s?shards=s"
        login = {"username": "app", "password": site.secret(APP), "protocol": protocol}

        async def use() -> None:
            async with AsyncCacheMesh.from_url(url, snapshot_dir="off", **login) as mesh:
                await mesh.get("k")

        try:
            asyncio.run(use())
        except redis.RedisError as error:
            site.failed("an instance that echoes, to asyncio", error)
        use_once(url, **login)


def drive_echoes(site: Site) -> None:
    """Servers that repeat what they were sent, as some do in errors, and proxies in pages."""

    def echo(words: list[bytes]) -> bytes:
        return b"-ERR unknown command, with args beginning with: " + b" ".join(words) + b"\r\n"

    with Server(echo) as server:
        at = str(server)
        for auth in (RedisAuth(None, site.secret(OPS)), RedisAuth("ops", site.secret(OPS))):
            try:
                BoundedConnection(at, NETWORKS, auth, AT_MOST).call("PING")
            except redis.RedisError as error:
                site.failed("an instance that echoes, to the metaserver", error)
        for protocol in (2, 3):
            attempts: list[Callable[[], None]] = [
                partial(
                    use_once,
                    f"cachemesh+sentinel://{at}/cache",
                    sentinel_password=site.secret(SENTINEL),
                    protocol=protocol,
                ),
                partial(use_echoing_instance, site, at, protocol),
            ]
            for attempt in attempts:
                try:
                    attempt()
                except (redis.RedisError, CacheMeshError) as error:
                    site.failed("a server that echoes", error)
                else:
                    raise AssertionError("the echo was accepted")

    def sentinel(words: list[bytes]) -> bytes:
        return b"*0\r\n" if words[1:2] == [b"MASTERS"] else echo(words)

    with Server(sentinel) as server, SentinelGroup([str(server)], NETWORKS, RedisAuth()) as group:
        outcome = group.register("s", "127.0.0.1:1", 1, RedisAuth("ops", site.secret(OPS)))
        assert outcome.failed
        site.evidence.add("a Sentinel that echoes, to the metaserver", repr(outcome))

    with _web_echo() as at:
        client = MetaserverClient([at], site.admin)
        try:
            client.request("GET", "/v1/pools")
        except (CacheMeshError, MetaserverUnavailableError) as error:
            site.failed("a web server that echoes", error)
        else:
            raise AssertionError("the echo was accepted")


@contextmanager
def _web_echo() -> Iterator[str]:
    """Serve problem documents that repeat the request's headers."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"title": "No", "code": "no", "detail": str(self.headers)}).encode()
            self.send_response(403)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
