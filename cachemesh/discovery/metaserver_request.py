"""A request to a metaserver, whichever it is sent to: for `cachemesh.discovery.metaserver`."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import quote, urlencode

from cachemesh.discovery.wakeup import StopEvent

MAX_REPLY_BYTES = 64 * 1024 * 1024

Query: TypeAlias = "Mapping[str, str | int | bool]"


@dataclass(frozen=True)
class Request:
    """A request to a metaserver, whichever it is sent to.

    Attributes:
        method, path, body, query, stop, max_bytes: as in `MetaserverClient.request`.
        seconds: for the whole reply.
        key: the idempotency key of a change; None for what may be sent twice.
    """

    method: str
    path: str
    body: object | None
    query: Query | None
    seconds: float
    max_bytes: int = MAX_REPLY_BYTES
    stop: StopEvent | None = None
    key: str | None = None

    def with_key(self) -> Request:
        """Return the request, which if it is a change has the given key, or one of its own."""
        leaves = self.method == "DELETE" and "/clients/" in self.path  # twice is as once
        if self.method == "GET" or self.watches or leaves:
            return self
        return replace(self, key=self.key or secrets.token_hex(16))

    @property
    def watches(self) -> bool:
        """Whether it is a watch call, for which a connection is kept."""
        return self.method == "POST" and self.path.endswith("/watch")

    @property
    def stopped(self) -> bool:
        """Whether the request is to be interrupted."""
        return self.stop is not None and self.stop.is_set()

    @property
    def target(self) -> str:
        """The path with the query, as the request line has it."""
        if not self.query:
            return self.path
        shown = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in self.query.items()
        }
        return f"{self.path}?{urlencode(shown, quote_via=quote)}"

    def headers(self, token: str | None) -> dict[str, str]:
        """Return the headers; None: without a token."""
        headers = {"Accept": "application/json, text/event-stream"}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return headers
