"""Watching clients on raw sockets, many in one thread, which try one metaserver after the other."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence

from typing_extensions import Self

from cachemesh.core.names import parse_address
from tests.support.waiting import AT_MOST

_AGAIN = 0.1  # seconds after a failure
_HOLD = 10


class RawWatchers:
    """So many watching clients of the pool "cache". They acknowledge whatever they are told.

    Args:
        metaservers: their addresses; each client begins with another one.

    Attributes:
        versions: the version that each acts on.
    """

    def __init__(self, metaservers: Sequence[str], token: str, count: int) -> None:
        self.versions = [0] * count
        self._metaservers = [parse_address(each) for each in metaservers]
        self._token = token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(AT_MOST)

    def _run(self) -> None:
        asyncio.run(self._watch_all())

    async def _watch_all(self) -> None:
        tasks = [asyncio.create_task(self._watch(n)) for n in range(len(self.versions))]
        await asyncio.to_thread(self._stop.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, number: int) -> None:
        tries = number
        while True:
            host, port = self._metaservers[tries % len(self._metaservers)]
            try:
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    while True:
                        await self._call(number, reader, writer)
                finally:
                    writer.close()
            except (OSError, EOFError, ValueError):
                tries += 1
                await asyncio.sleep(_AGAIN)

    async def _call(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Make one watch call; ValueError: it was refused."""
        body = json.dumps(
            {"client": f"{number:012x}", "version": self.versions[number], "wait": _HOLD}
        )
        writer.write(
            "POST /v1/pools/cache/watch HTTP/1.1\r\nHost: metaserver\r\n"
            f"Accept: application/json\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if not head.startswith("http/1.1 200"):
            raise ValueError(head)
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        document = json.loads(await reader.readexactly(length))["document"]
        if document is not None:
            self.versions[number] = document["version"]
