"""Between Flask and the use cases: access, decoding, problems as replies."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

from flask import Blueprint, Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, InternalServerError

from cachemesh.core.errors import (
    InvalidDocumentError,
    PoolNotFoundError,
    SentinelUnavailableError,
)
from cachemesh.core.json_text import NotJsonError, decode_json
from metaserver.api.contract import BY_ID, Operation, check_body, check_query
from metaserver.domain.errors import PROBLEMS, Problem, pool_not_found
from metaserver.redis_io.admission import InstanceRejected
from metaserver.runtime import Runtime
from metaserver.store import StorageError, StorageFullError, Token

MAX_BODY = 1024 * 1024  # bytes, of any operation
_MOST_NESTED = 16  # objects and arrays in each other
_AT_ONCE = 8192  # bytes of a body of unknown length
_RETRY_AFTER = "5"  # seconds
_EXTENSION = "metaserver"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cachemesh"'}

log = logging.getLogger("metaserver")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in and checked against the contract; `token` is the token's id."""

    runtime: Runtime
    actor: str
    token: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def pool(self) -> str:
        """The pool in the path."""
        return self.path["pool"]

    @property
    def shard(self) -> str:
        """The shard in the path."""
        return self.path["shard"]


View: TypeAlias = Callable[[Call], Response]


def runtime() -> Runtime:
    """What the app of this request works with."""
    found: Runtime = current_app.extensions[_EXTENSION]
    return found


def operation(blueprint: Blueprint, operation_id: str) -> Callable[[View], View]:
    """Serve an operation of the contract, at the path and with the checks written there."""
    described = BY_ID[operation_id]

    def register(view: View) -> View:
        def serve(**path: str) -> Response:
            return view(_call(described, path))

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
    """A JSON reply that no cache keeps."""
    return raw_reply(json.dumps(body, allow_nan=False), status)


def raw_reply(
    text: str | Iterator[str], status: int = 200, media: str = "application/json"
) -> Response:
    """A reply whose text is ready, or is made while it is sent."""
    return Response(text, status, {"Cache-Control": "no-store"}, content_type=media)


def empty_reply() -> Response:
    """204: it is done, and there is nothing to say."""
    reply = Response(status=204)
    del reply.headers["Content-Type"]  # of nothing (RFC 9110, 8.3)
    return reply


def install(app: Flask, runtime: Runtime) -> None:
    """Let the app check every request, and answer every error as a problem."""
    app.extensions[_EXTENSION] = runtime
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.before_request(_let_in)
    app.after_request(_count_until_sent)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Problem, _reply_problem)
    app.register_error_handler(InstanceRejected, _rejected)
    app.register_error_handler(StorageError, _storage_failed)
    app.register_error_handler(InvalidDocumentError, _invalid)
    app.register_error_handler(PoolNotFoundError, _pool_gone)
    app.register_error_handler(SentinelUnavailableError, _no_sentinel)


def _let_in() -> None:
    """Nobody gets in without a token, but to what the contract calls public."""
    name = (request.endpoint or "").rpartition(".")[2]
    wanted = BY_ID.get(name)
    if wanted is not None and wanted.access == "public":
        return
    token = _token()
    g.actor, g.token_id = f"token:{token.name}", token.id
    runtime().under_way.enter(token.id, name)
    g.counted = name
    if request.url_rule is None:
        return  # Flask goes on to say 404 or 405
    allowed = ("read", "admin") if wanted is not None and wanted.access == "read" else ("admin",)
    if wanted is None or token.role not in allowed:
        raise Problem(
            "forbidden",
            f"Token {token.name!r} has the role {token.role}, which does not allow "
            f"{request.method} {request.path:.200}",
            "use a token of role admin",
        )


def _count_until_sent(reply: Response) -> Response:
    if "counted" in g:
        reply.call_on_close(partial(runtime().under_way.leave, g.token_id, g.counted))
    return reply


def _token() -> Token:
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise Problem(
            "unauthorized",
            "The request carries no bearer token",
            "send the header 'Authorization: Bearer TOKEN'",
        )
    token = runtime().tokens.recognise(text.strip())
    if token is None:
        raise Problem(
            "unauthorized",
            "The bearer token is not known; it may have been revoked",
            "use another one, or have one created with POST /v1/tokens",
        )
    return token


def _call(described: Operation, path: Mapping[str, str]) -> Call:
    query = check_query(described, request.args.items(multi=True))
    body = check_body(described, _decoded_body(described)) if described.body is not None else {}
    return Call(runtime(), g.get("actor", "anybody"), g.get("token_id", ""), path, query, body)


def _decoded_body(described: Operation) -> object:
    raw = _body_of(described.max_body)
    try:
        return decode_json(raw.decode("utf-8"), most_nested=_MOST_NESTED)
    except UnicodeDecodeError as error:
        reason = f"not JSON in UTF-8: see byte {error.start}"
    except NotJsonError as error:
        reason = str(error)
    raise Problem("bad-request", f"The body is {reason}", "send a JSON object")


def _body_of(most: int) -> bytes:
    """The body; no more of it is kept than is allowed, whatever its headers say."""
    length = request.content_length
    if length is not None and length > most:
        raise _too_large(most)
    body = b""
    while more := request.stream.read(_AT_ONCE if length is None else length - len(body)):
        body += more
        if len(body) > most:
            raise _too_large(most)
    return body


def _too_large(most: int) -> Problem:
    return Problem("too-large", f"The body is over {most} bytes", "send less")


def _reply_problem(problem: Problem) -> Response:
    reply = raw_reply(
        json.dumps(problem.to_dict(request.path[:500])),
        problem.status,
        "application/problem+json",
    )
    if problem.status == 401:
        reply.headers.update(_CHALLENGE)
    if problem.status == 429:
        reply.headers["Retry-After"] = _RETRY_AFTER
    return reply


def unparsed(status: HTTPStatus, detail: str) -> tuple[dict[str, str], str]:
    """The problem for what was not a request, as headers and text."""
    codes = [code for code, (number, _title) in PROBLEMS.items() if number == status]
    code = codes[0] if codes else "bad-request"
    if code == "internal-error":
        problem = Problem(code, "A request failed", "look at the metaserver's log")
    else:
        problem = Problem(code, f"This is no HTTP/1.1 request that is served here: {detail}")
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    return headers, json.dumps(problem.to_dict(""))


def _http_error(error: HTTPException) -> Response:
    """Flask's own errors: 404, 405, 413, and 500 for a fault of ours."""
    if isinstance(error, InternalServerError) or error.code is None:
        return _reply_problem(
            Problem(
                "internal-error",
                f"{request.method} {request.path:.200} failed inside the metaserver",
                "look at the metaserver's log",
            )
        )
    if error.code == 404:
        return _reply_problem(
            Problem("not-found", f"There is nothing at {request.path:.200}", "see /openapi.json")
        )
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        reply = _reply_problem(
            Problem(
                "method-not-allowed",
                f"{request.method:.20} is not allowed at {request.path:.200}",
                f"allowed: {allowed}",
            )
        )
        reply.headers["Allow"] = allowed
        return reply
    if error.code == 413:
        return _reply_problem(_too_large(MAX_BODY))
    if error.code == 408:
        return _reply_problem(Problem("request-timeout", error.description or error.name))
    return _reply_problem(Problem("bad-request", error.description or error.name))


def _rejected(error: InstanceRejected) -> Response:
    return _reply_problem(
        Problem(
            "instance-rejected",
            error.detail,
            error.next_step,
            reason=error.reason,
            address=error.address,
        )
    )


def _storage_failed(error: StorageError) -> Response:
    log.error("%s %s: %s", request.method, request.path, error)
    code = "storage-full" if isinstance(error, StorageFullError) else "storage-failed"
    detail, _, next_step = str(error).partition("; ")
    return _reply_problem(Problem(code, detail, next_step or "look at the metaserver's log"))


def _invalid(error: InvalidDocumentError) -> Response:
    return _reply_problem(
        Problem("bad-request", str(error), "correct the request; /openapi.json describes it")
    )


def _pool_gone(_error: PoolNotFoundError) -> Response:
    return _reply_problem(pool_not_found((request.view_args or {}).get("pool", "")))


def _no_sentinel(error: SentinelUnavailableError) -> Response:
    return _reply_problem(
        Problem("sentinel-failed", str(error), "check that the Sentinels run and can be reached")
    )
