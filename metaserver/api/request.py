"""Requests between Flask and the use cases: access, decoding, views of the contract."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from flask import Blueprint, Flask, Response, current_app, request

from cachemesh.core.json_text import NotJsonError, RefusedValueError, decode_json
from metaserver.api.access import actor_name, bearer, check_access
from metaserver.api.backend import Backend
from metaserver.api.contract import (
    BY_ID,
    KEY_HEADER,
    Operation,
    check_body,
    check_key,
    check_query,
)
from metaserver.api.idempotency import KeyedCall, digest_of
from metaserver.api.problem_details import MAX_BODY, too_large
from metaserver.domain.errors import RequestRefused
from metaserver.store import CallId, Token

_MOST_NESTED = 16  # objects and arrays nested in each other
_AT_ONCE = 8192  # bytes of a body of unknown length
_EXTENSION = "metaserver"

log = logging.getLogger("metaserver")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was authorized and checked against the contract.

    Attributes:
        bearer: the caller's token; None for an operation that needs none.
        path, query, body: the parameters, with their types, and the decoded body.
    """

    backend: Backend
    bearer: Token | None
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def actor(self) -> str:
        """The caller, for the audit log."""
        return actor_name(self.bearer)

    @property
    def token(self) -> str:
        """The id of the caller's token."""
        return "" if self.bearer is None else self.bearer.id

    def covers(self, pool: str | None) -> bool:
        """Return whether the caller may see what belongs to this pool; None: to no pool."""
        return self.bearer is None or self.bearer.covers(pool)

    @property
    def pool(self) -> str:
        """The pool that the path names."""
        return self.path["pool"]

    @property
    def shard(self) -> str:
        """The shard that the path names."""
        return self.path["shard"]


View: TypeAlias = Callable[[Call], Response]


def backend() -> Backend:
    """Return what the app of this request works with."""
    found: Backend = current_app.extensions[_EXTENSION]
    return found


def operation(blueprint: Blueprint, operation_id: str) -> Callable[[View], View]:
    """Bind a view to an operation of the contract, with its path and its checks."""
    described = BY_ID[operation_id]

    def register(view: View) -> View:
        def serve(**path: str) -> Response:
            call = _call(described, path)
            return _answered_once(described, call, view) if described.once else view(call)

        blueprint.add_url_rule(
            described.path.replace("{", "<").replace("}", ">"),
            operation_id,
            serve,
            methods=[described.method],
            provide_automatic_options=False,
        )
        return view

    return register


def json_reply(body: object, status: int = 200) -> Response:
    """Return a JSON reply that no cache keeps."""
    return raw_reply(json.dumps(body, allow_nan=False), status)


def raw_reply(
    text: str | Iterator[str], status: int = 200, media: str = "application/json"
) -> Response:
    """Return a reply whose text is given, or generated while it is sent."""
    return Response(text, status, {"Cache-Control": "no-store"}, content_type=media)


def empty_reply() -> Response:
    """Return a 204 reply."""
    reply = Response(status=204)
    del reply.headers["Content-Type"]  # there is no content (RFC 9110, 8.3)
    return reply


def check_requests(app: Flask, backend: Backend) -> None:
    """Have the app check the access of every request."""
    app.extensions[_EXTENSION] = backend
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    check_access(app, backend)


def _call(described: Operation, path: Mapping[str, str]) -> Call:
    query = check_query(described, request.args.items(multi=True))
    body = check_body(described, _decoded_body(described)) if described.body is not None else {}
    return Call(backend(), bearer(), path, query, body)


def _answered_once(described: Operation, call: Call, view: View) -> Response:
    """Return a view's answer to a call, which with a key is carried out once."""
    key = request.headers.get(KEY_HEADER)
    if key is None or call.body.get("dry_run") or call.query.get("dry_run"):
        return view(call)
    digest = digest_of(described.id, dict(call.path), dict(call.query), dict(call.body))
    keyed = KeyedCall(call.backend, described, CallId(call.token, check_key(key)), digest)
    return keyed.answer(lambda backend: view(replace(call, backend=backend)))


def _decoded_body(described: Operation) -> object:
    request.max_content_length = described.max_body
    raw = _body_of(described.max_body)
    try:
        return decode_json(raw.decode("utf-8"), max_depth=_MOST_NESTED)
    except UnicodeDecodeError as error:
        reason = f"not JSON in UTF-8: see byte {error.start}"
    except RefusedValueError as error:
        raise RequestRefused("invalid-content", f"The body is {error}", "correct it") from error
    except NotJsonError as error:
        reason = str(error)
    raise RequestRefused("bad-request", f"The body is {reason}", "send a JSON object")


def _body_of(most: int) -> bytes:
    """Return the body, of which no more is kept than is allowed, whatever its headers say."""
    length = request.content_length
    if length is not None and length > most:
        raise too_large(most)
    body = b""
    while more := request.stream.read(_AT_ONCE if length is None else length - len(body)):
        body += more
        if len(body) > most:
            raise too_large(most)
    return body
