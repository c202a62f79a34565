"""A metaserver in a process of its own, and plain HTTP requests to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from cachemesh.local.ports import Ports
from tests.support.waiting import AT_MOST, until

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reply:
    """A whole HTTP reply; `json` is None if the body is not JSON."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any = field(default=None)

    @property
    def problem(self) -> str:
        """The code of the problem document; reading it fails the test for any other reply."""
        assert self.status >= 400, self.text
        assert self.headers["content-type"] == "application/problem+json", self.text
        assert self.json["status"] == self.status
        assert self.json["detail"]
        return str(self.json["code"])


@dataclass(frozen=True)
class Api:
    """Requests to one metaserver with one token."""

    address: str
    token: str | None = field(repr=False, default=None)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = AT_MOST,
    ) -> Reply:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        payload = json.dumps(body).encode() if body is not None else raw
        try:
            connection.request(method, path, payload, sent)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        kind = response.headers.get("content-type", "")
        parsed = json.loads(text) if "json" in kind and text else None
        found = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status, found, text, parsed)

    def as_reader(self) -> Api:
        """Create a token of role read with this one, and return requests with it."""
        made = self("POST", "/v1/tokens", {"name": "reader", "role": "read"})
        assert made.status == 201, made.text
        return Api(self.address, made.json["token"])

    def in_background(self, *args: Any, **kwargs: Any) -> Callable[[], Reply]:
        """Start a request on a thread; the returned function waits for the reply."""
        replies: list[Reply | OSError] = []

        def run() -> None:
            try:
                replies.append(self(*args, **kwargs))
            except (OSError, http.client.HTTPException) as error:
                replies.append(OSError(str(error)))

        thread = threading.Thread(target=run)
        thread.start()

        def result() -> Reply:
            thread.join(AT_MOST)
            assert replies, "no reply"
            if isinstance(replies[0], OSError):
                raise replies[0]
            return replies[0]

        return result


def environment() -> dict[str, str]:
    """Return the environment for a subprocess that imports the repository."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


class Metaserver:
    """A metaserver process.

    Args:
        directory: of its database and log.
        options: put after its command.
        prefix: put before its command.
        token_file: where its admin token goes; a file in the directory if None.
        module: the module to run.
        network: the allowed network.
        store: the options that say where its store is; None: its database.
        host: where it listens.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        prefix: Sequence[str] = (),
        token_file: Path | None = None,
        module: str = "metaserver",
        network: str = "127.0.0.0/8",
        store: Sequence[str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.port = Ports().take()
        self.db = directory / "meta.db"
        self.token_file = token_file or directory / "token"
        self.log = self.token_file.with_name(f"metaserver-{self.port}.log")
        self._argv = [
            *prefix,
            sys.executable,
            *("-m", module),
            *("--listen", f"{self.host}:{self.port}"),
            *(("--db", str(self.db)) if store is None else store),
            *("--token-file", str(self.token_file)),
            *("--allow-network", network),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Api:
        """Start the process, wait until it is ready, and return its API with the admin token."""
        self.start_without_token()
        return self.api()

    def start_without_token(self, *, probe: str = "/readyz") -> None:
        """Start the process and wait until the probe answers 200."""
        with self.log.open("ab") as log:
            self.process = process = subprocess.Popen(
                self._argv, stderr=log, cwd=self.db.parent, env=environment()
            )
        until(lambda: self.ready(probe) or process.poll() is not None)
        assert process.poll() is None, self.log.read_text()

    def api(self) -> Api:
        """Return its API with the admin token."""
        return Api(f"{self.host}:{self.port}", self.token())

    def token(self) -> str:
        """Read its admin token."""
        return self.token_file.read_text().strip()

    def ready(self, probe: str = "/readyz") -> bool:
        """Return whether the probe answers 200."""
        try:
            return Api(f"{self.host}:{self.port}")("GET", probe).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self.process is not None
        return self.process.wait(AT_MOST)

    def stop(self) -> None:
        """End the process by SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            finally:
                self.process.kill()

    def __enter__(self) -> Api:
        with ExitStack() as unless_ready:
            unless_ready.callback(self.stop)
            api = self.start()
            unless_ready.pop_all()
        return api

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
