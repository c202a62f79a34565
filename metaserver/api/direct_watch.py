"""Watch calls without Flask: a fleet makes one for each client, all at the same moment.

Only a plain call that can be taken as it is, of a client that may make it, is taken. Everything
else, and so every refusal, is left to Flask, whose view does the same for one call.

    request --> head, the same for many clients: pool, access (looked up once a slice)
            --> body, mostly that of the connection's last call with another version
            --> recorded in the registry --> held until the hub wakes the pool, or its time is up
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Literal, NamedTuple, Protocol

from cachemesh.core.json_text import NotJsonError, decode_json
from metaserver.api.access import check_allowed, recognised
from metaserver.api.backend import Backend
from metaserver.api.contract import BY_ID, check_body
from metaserver.api.contract.schema_parts import MAX_WHOLE
from metaserver.api.problem_details import PROBLEMS, problem_document, storage_problem
from metaserver.api.watch import PUBLISHED_WITHIN, watch_began, watch_reply, watch_seconds
from metaserver.domain.errors import RequestRefused, pool_not_found
from metaserver.store import StorageError
from metaserver.watch.change_hub import PublishedDocument

_OPERATION = BY_ID["watchPool"]
_BEGINS = b"POST /v1/pools/"
_HEAD = re.compile(
    r"POST (/v1/pools/([A-Za-z0-9][A-Za-z0-9._-]*)/watch) HTTP/1\.1"
    r"((?:\r\n[A-Za-z][A-Za-z-]*: ?[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)*)"
)
_PLAIN_HEADERS = frozenset(
    {
        *("host", "accept", "accept-encoding", "authorization", "content-type"),
        *("content-length", "user-agent", "connection"),
    }
)
_LENGTH = re.compile(r"[0-9]{1,6}")
_MOST_HEAD = 4096
_NESTED = 16


class WatchConnection(Protocol):
    """What is used of `cachemesh.serving.direct.DirectConnection`."""

    address: str
    call: Any
    mark: int


class WatchHolder(Protocol):
    """What is used of `cachemesh.serving.direct.DirectServer`."""

    def reply(self, connections: Iterable[Any], data: bytes) -> None:
        """Send the reply to the calls of these connections, soon."""

    def expire(self, connection: Any, due: float) -> None:
        """Have the call expire at a time of the monotonic clock."""


class _Head(NamedTuple):
    """The head of a request that may be made: the pool, the token's id, the bytes of the body."""

    pool: str
    token: str
    length: int


class _Watch(NamedTuple):
    """A watch call in progress."""

    pool: str
    client: str
    version: int
    token: str


class DirectWatches:
    """The watch calls of one process that are held without Flask.

    Args:
        backend: what the views work with, too.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._server: WatchHolder | None = None
        self._held: dict[str, dict[Any, None]] = {}  # connections by pool, in order of their calls
        self._new: dict[Any, float] = {}  # connections of clients that are unknown elsewhere
        self._new_ones = threading.Event()
        self._heads: dict[bytes, _Head | None] = {}
        self._fresh = False
        self._encoded: dict[str | None, tuple[int, bytes]] = {}  # second, reply; by document
        backend.hub.on_change.append(self._tell)
        threading.Thread(target=self._publish_new, name="new clients", daemon=True).start()

    def serve_on(self, server: WatchHolder) -> None:
        """Remember the server that holds the calls."""
        self._server = server

    def slice_begins(self) -> None:
        """Forget what may have changed since: documents and tokens."""
        self._heads.clear()
        self._fresh = False

    def takes(self, begun: bytes) -> bool:
        """Return whether these may be the first bytes of a watch call."""
        return begun.startswith(_BEGINS) and b"/watch HTTP/1.1\r\n" in begun[:400]

    def begin(self, connection: WatchConnection, data: bytes) -> Literal["more", "other", "taken"]:
        """Take a watch call, unless Flask must answer it."""
        if not data.startswith(_BEGINS[: len(data)]) or self._backend.context.stopping.is_set():
            return "other"
        text, end, body = data.partition(b"\r\n\r\n")
        if not end:
            return "more" if len(data) <= _MOST_HEAD else "other"
        try:
            if text in self._heads:
                head = self._heads[text]
            else:
                head = self._heads[text] = self._allowed(text)
            if head is None or len(body) > head.length:
                return "other"
            if len(body) < head.length:
                return "more"
            return self._take(connection, head, body)
        except (RequestRefused, StorageError, NotJsonError):
            return "other"

    def expired(self, connection: WatchConnection) -> None:
        """Reply that there is nothing new."""
        self._forget(connection)
        self._reply([connection], None)

    def ended(self, connection: WatchConnection, sent: bool) -> None:
        """Note that a call is answered, or that its client is gone."""
        backend, watch = self._backend, connection.call
        if not sent:
            self._forget(connection)
        backend.hub.waiting -= 1
        backend.clients.watch_ended(watch.pool, watch.client, token=watch.token)
        backend.call_limits.leave(watch.token, "watchPool")
        if sent:
            status = 200 if backend.hub.known(watch.pool) is not None else 404
            backend.counters.count_request("watchPool", status, "read")

    def _allowed(self, text: bytes) -> _Head | None:
        """Return the head of a plain request whose sender may watch the pool; else None."""
        found = _HEAD.fullmatch(text.decode("latin-1"))
        if found is None or self._backend.context.stopping.is_set():
            return None
        path, pool, lines = found.groups()
        headers: dict[str, str] = {}
        for line in lines.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            name = name.lower()
            if name in headers or name not in _PLAIN_HEADERS:
                return None
            headers[name] = value.strip()
        length = headers.get("content-length", "")
        if headers.get("connection", "keep-alive").lower() != "keep-alive":
            return None
        if "host" not in headers or not _LENGTH.fullmatch(length):
            return None
        if int(length) > _OPERATION.max_body:
            return None
        token = recognised(self._backend, headers.get("authorization", ""))
        check_allowed(token, _OPERATION, f"POST {path}", pool)
        return _Head(pool, token.id, int(length))

    def _take(
        self, connection: WatchConnection, head: _Head, raw: bytes
    ) -> Literal["other", "taken"]:
        backend, server = self._backend, self._server
        assert server is not None
        body = self._checked(connection, raw)
        if not self._fresh:
            backend.hub.refresh()
            self._fresh = True
        document, version = backend.hub.known(head.pool), body["version"]
        if document is None or version > document.version:
            return "other"
        backend.call_limits.enter(head.token, "watchPool")
        try:
            new = watch_began(backend, head.pool, head.token, connection.address, body, version)
        except RequestRefused:
            backend.call_limits.leave(head.token, "watchPool")
            raise
        seconds = watch_seconds(body)
        connection.call = _Watch(head.pool, body["client"], version, head.token)
        backend.hub.waiting += 1
        if seconds > 0:
            server.expire(connection, time.monotonic() + seconds)
        if new and not backend.hub.stopping:
            self._new[connection] = seconds
            self._new_ones.set()
        else:
            self._reply_or_hold(connection, document, seconds)
        return "taken"

    def _reply_or_hold(
        self, connection: WatchConnection, document: PublishedDocument, seconds: float
    ) -> None:
        if document.version > connection.call.version:
            self._reply([connection], document)
        elif seconds <= 0 or self._backend.hub.stopping:
            self._reply([connection], None)
        else:
            self._held.setdefault(connection.call.pool, {})[connection] = None

    def _publish_new(self) -> None:
        """Give new clients a document once other processes know of them. The body of a thread."""
        while True:
            self._new_ones.wait()
            self._new_ones.clear()
            new = list(self._new)
            self._backend.clients.wait_published(PUBLISHED_WITHIN)
            for connection in new:
                if connection in self._new:
                    seconds = self._new.pop(connection)
                    document = self._backend.hub.known(connection.call.pool)
                    if document is None:
                        self._reply_gone(connection.call.pool, [connection])
                    else:
                        self._reply_or_hold(connection, document, seconds)

    def _checked(self, connection: WatchConnection, raw: bytes) -> dict[str, Any]:
        """Return the body, checked against the contract unless only version and quality are new."""
        body = decode_json(_text(raw), max_depth=_NESTED)
        if isinstance(body, dict):
            rest = dict(body)
            version = rest.pop("version", None)
            rest.pop("quality", None)  # always new, and checked with what is recorded
            mark = hash(str(rest))
            plain = type(version) is int and 0 <= version <= MAX_WHOLE
            if plain and mark == connection.mark:
                return body
            body = check_body(_OPERATION, body)
            connection.mark = mark
            return body
        return check_body(_OPERATION, body)

    def _forget(self, connection: WatchConnection) -> None:
        self._new.pop(connection, None)
        self._held.get(connection.call.pool, {}).pop(connection, None)

    def _tell(self, pool: str) -> None:
        """Reply to the calls of a pool that has changed, or of all when the process stops."""
        held, hub = self._held.pop(pool, {}), self._backend.hub
        if hub.stopping:
            held.update(dict.fromkeys(each for each in self._new if each.call.pool == pool))
            self._new = {each: self._new[each] for each in self._new if each not in held}
        document = hub.known(pool)
        if document is None:
            self._reply_gone(pool, held)
            return
        behind = [each for each in held if each.call.version < document.version]
        self._reply(behind, document)
        if len(behind) < len(held):
            for each in behind:
                del held[each]
            if hub.stopping:
                self._reply(held, None)
            else:
                self._held[pool] = held

    def _reply(self, connections: Iterable[Any], document: PublishedDocument | None) -> None:
        """Reply with a document; None: there is nothing new."""
        assert self._server is not None
        key = None if document is None else document.text
        now = int(time.time())
        at, data = self._encoded.get(key, (0, b""))
        if at != now:
            if len(self._encoded) > 16:
                self._encoded.clear()
            data = _http(200, "application/json", watch_reply(self._backend, document))
            self._encoded[key] = now, data
        self._server.reply(connections, data)

    def _reply_gone(self, pool: str, connections: Iterable[Any]) -> None:
        assert self._server is not None
        error = pool_not_found(pool)
        try:
            self._backend.store.document(pool)
        except StorageError as reason:
            error = storage_problem(reason)
        text = json.dumps(problem_document(error, f"/v1/pools/{pool}/watch"))
        status, _title = PROBLEMS[error.code]
        self._server.reply(connections, _http(status, "application/problem+json", text))


def _http(status: int, media: str, text: str) -> bytes:
    """Return a whole reply."""
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: {media}\r\nCache-Control: no-store\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body


def _text(raw: bytes) -> str:
    """Return a body as text; a byte order mark is no part of JSON here (RFC 8259, 8.1)."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError("not JSON in UTF-8") from error
