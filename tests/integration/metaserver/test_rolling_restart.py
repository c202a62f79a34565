"""All metaservers are restarted, one after the other: no call of anybody fails.

Two are the harder case than three: while one is away, one other has to answer everybody.
"""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlencode

from cachemesh import CacheMesh
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack
from tests.support.change_stream import ChangeStream
from tests.support.leading import leading
from tests.support.metaserver_process import environment
from tests.support.waiting import AT_MOST, until

_PACE = 0.1  # seconds between two calls of a thread


def test_no_call_fails() -> None:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=2, timeout=AT_MOST) as stack:
        addresses = stack.info["metaservers"]
        client = MetaserverClient(addresses, stack.token)
        command = [sys.executable, "-m", "cachemesh_command", "metaserver", "list", "-o", "json"]
        environ = environment() | stack.info["env"]
        mesh = CacheMesh.from_url(stack.info["url"], token=stack.token)

        def cli() -> object:
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        with (
            mesh,
            repeated(
                lambda: client.request("GET", "/v1/pools/cache/status"),
                cli,
                Board(stack).look,
                lambda: mesh.set("key", "value"),
            ) as again,
            ChangeStream(addresses, stack.token) as stream,
        ):
            for address in addresses:
                term = leading(stack)["leader"]["epoch"]
                process = stack.process(address)
                process.kill(signal.SIGTERM)
                process.wait(AT_MOST)
                assert leading(stack, but=process)["leader"]["epoch"] >= term
                process.restart(AT_MOST)
                stream.go_on()
                again()
        stream.check()
        assert len(client.request("GET", "/v1/metaservers")["metaservers"]) == 2


@contextmanager
def repeated(*calls: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Repeat each call on a thread for the block; what a call raises, the block raises at its end.

    The function given to the block waits until each call was made once more.
    """
    stop = threading.Event()
    counts = [0] * len(calls)

    def run(number: int) -> None:
        while not stop.wait(_PACE):  # what starts anew needs the CPU too
            calls[number]()
            counts[number] += 1

    with ThreadPoolExecutor(len(calls)) as threads:
        running = [threads.submit(run, number) for number in range(len(calls))]

        def again() -> None:
            wanted = [count + 2 for count in counts]
            until(
                lambda: (
                    any(each.done() for each in running)
                    or all(now >= want for now, want in zip(counts, wanted, strict=True))
                )
            )

        try:
            yield again
        finally:
            stop.set()
    for each in running:
        each.result()


class Board:
    """A browser's session at the dashboard, without a browser."""

    def __init__(self, stack: LocalStack) -> None:
        self._address = stack.info["dashboard"].removeprefix("http://")
        self._cookies: dict[str, str] = {}
        status, page = self._exchange("GET", "/login")
        assert status == 200
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert found is not None
        form = {"csrf": found[1], "token": stack.token}
        assert self._exchange("POST", "/login", urlencode(form))[0] == 303

    def look(self) -> None:
        """Load the pool's page, which has to show the pool."""
        status, page = self._exchange("GET", "/pools/cache")
        assert status == 200, page
        assert "Metaserver unreachable" not in page
        assert "cache-0" in page

    def _exchange(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._address, timeout=AT_MOST)
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self._cookies.items())}
        if body is not None:
            headers |= {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"http://{self._address}",
            }
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            for name, value in reply.getheaders():
                if name.lower() == "set-cookie":
                    key, _, rest = value.partition("=")
                    self._cookies[key] = rest.partition(";")[0]
            return reply.status, reply.read().decode()
        finally:
            connection.close()
