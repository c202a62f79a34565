"""Errors as replies: problem documents (RFC 9457) and their HTTP statuses."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, InternalServerError

from cachemesh.core.errors import (
    InvalidDocumentError,
    PoolNotFoundError,
    SentinelUnavailableError,
)
from metaserver.domain.errors import ErrorCode, RequestRefused, pool_not_found
from metaserver.redis_io.allowed_networks import InstanceRejected
from metaserver.store import StorageError, StorageFullError, UnsureError

MAX_BODY = 1024 * 1024  # bytes of any request
_RETRY_AFTER = "5"  # seconds
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cachemesh"'}

log = logging.getLogger("metaserver")

PROBLEMS: dict[ErrorCode, tuple[int, str]] = {
    "bad-request": (400, "The request is not valid"),
    "unauthorized": (401, "A valid token is needed"),
    "forbidden": (403, "The token's role does not allow this"),
    "not-found": (404, "There is nothing here"),
    "pool-not-found": (404, "There is no such pool"),
    "shard-not-found": (404, "There is no such shard"),
    "token-not-found": (404, "There is no such token"),
    "sweep-not-found": (404, "There is no such sweep"),
    "resize-not-found": (404, "No resize is under way"),
    "sentinel-not-found": (404, "There is no such Sentinel"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The request took too long to arrive"),
    "pool-exists": (409, "The pool exists already"),
    "shard-exists": (409, "The shard exists already"),
    "token-exists": (409, "The token exists already"),
    "sentinel-exists": (409, "The Sentinel is one of the pool's already"),
    "sentinel-refused": (409, "The Sentinels cannot be changed like that now; nothing was changed"),
    "version-conflict": (409, "The pool has changed meanwhile"),
    "resize-in-progress": (409, "An earlier resize is not finished"),
    "resize-given-up": (409, "The resize was given up"),
    "resize-refused": (409, "The resize under way does not allow that; nothing was changed"),
    "pool-paused": (409, "The pool is paused; nothing was changed"),
    "pool-not-paused": (409, "The pool is not paused"),
    "move-impossible": (409, "Keys cannot move between these shards; nothing was changed"),
    "sweep-needed": (409, "The sweep cannot be given up"),
    "failover-in-progress": (409, "The shard is failing over"),
    "failover-refused": (409, "The shard cannot fail over now; nothing was touched"),
    "observer": (409, "This metaserver only observes"),
    "last-shard": (409, "A pool keeps at least one shard"),
    "last-admin": (409, "One admin token has to stay"),
    "call-in-progress": (409, "The first call with this key has no answer yet"),
    "answer-lost": (409, "The change was made; its answer is lost"),
    "too-large": (413, "The request is too large"),
    "uri-too-long": (414, "The address of the request is too long"),
    "expectation-failed": (417, "The expectation of the request cannot be met"),
    "invalid-content": (422, "The request is well-formed, and cannot be carried out as it is"),
    "instance-rejected": (422, "The instance cannot become a shard's master"),
    "idempotency-key-reused": (422, "The key belongs to another request"),
    "too-many-clients": (429, "There are too many clients"),
    "too-many-requests": (429, "Too many requests are under way"),
    "too-many-changes": (503, "The store changes too fast to be read as a whole"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "The metaserver failed"),
    "not-implemented": (501, "The transfer coding is not known"),
    "sentinel-failed": (502, "The Sentinels did not take the change; it was undone"),
    "failover-failed": (502, "The failover did not happen"),
    "not-leader": (503, "This process does not lead"),
    "stopping": (503, "This process stops"),
    "storage-unsure": (503, "The store has not answered; the change may have been made"),
    "storage-failed": (503, "The store failed; nothing was changed"),
    "storage-full": (507, "The store is full; nothing was changed"),
}
"""The HTTP status and the title of every error code."""


def problem_document(error: RequestRefused, instance: str) -> dict[str, object]:
    """Return the problem document of an error; `instance` is the path of the request."""
    status, title = PROBLEMS[error.code]
    return {
        "type": f"urn:cachemesh:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "next": error.next_step,
        "instance": instance,
        **error.extra,
    }


def reply_with_problems(app: Flask) -> None:
    """Have the app reply to every error with a problem document."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(RequestRefused, _reply_problem)
    app.register_error_handler(InstanceRejected, _rejected)
    app.register_error_handler(StorageError, _storage_failed)
    app.register_error_handler(InvalidDocumentError, _invalid)
    app.register_error_handler(PoolNotFoundError, _pool_gone)
    app.register_error_handler(SentinelUnavailableError, _no_sentinel)


def too_large(most: int) -> RequestRefused:
    """Return the error for a body of more than `most` bytes."""
    return RequestRefused("too-large", f"The body is over {most} bytes", "send less")


def _reply_problem(error: RequestRefused) -> Response:
    status, _title = PROBLEMS[error.code]
    g.problem = error.code
    reply = Response(
        json.dumps(problem_document(error, request.path[:500])),
        status,
        {"Cache-Control": "no-store"},
        content_type="application/problem+json",
    )
    if status == 401:
        reply.headers.update(_CHALLENGE)
    if status == 429:
        reply.headers["Retry-After"] = _RETRY_AFTER
    return reply


def unparsed(status: HTTPStatus, detail: str) -> tuple[dict[str, str], str]:
    """Return the problem document for bytes that are no request, as headers and text."""
    codes = [code for code, (number, _title) in PROBLEMS.items() if number == status]
    code: ErrorCode = codes[0] if codes else "bad-request"
    if code == "internal-error":
        error = RequestRefused(code, "A request failed", "look at the metaserver's log")
    else:
        error = RequestRefused(code, f"This is no HTTP/1.1 request that is served here: {detail}")
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    return headers, json.dumps(problem_document(error, ""))


def _http_error(error: HTTPException) -> Response:
    """Reply to Flask's own errors: 404, 405, 413, and 500 for an exception of the metaserver."""
    if isinstance(error, InternalServerError) or error.code is None:
        return _reply_problem(
            RequestRefused(
                "internal-error",
                f"{request.method} {request.path:.200} failed inside the metaserver",
                "look at the metaserver's log",
            )
        )
    if error.code == 404:
        return _reply_problem(
            RequestRefused(
                "not-found", f"There is nothing at {request.path:.200}", "see /openapi.json"
            )
        )
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        reply = _reply_problem(
            RequestRefused(
                "method-not-allowed",
                f"{request.method:.20} is not allowed at {request.path:.200}",
                f"allowed: {allowed}",
            )
        )
        reply.headers["Allow"] = allowed
        return reply
    if error.code == 413:
        return _reply_problem(too_large(MAX_BODY))
    if error.code == 408:
        return _reply_problem(RequestRefused("request-timeout", error.description or error.name))
    return _reply_problem(RequestRefused("bad-request", error.description or error.name))


def _rejected(error: InstanceRejected) -> Response:
    return _reply_problem(
        RequestRefused(
            "instance-rejected",
            error.detail,
            error.next_step,
            reason=error.reason,
            address=error.address,
        )
    )


def storage_problem(error: StorageError) -> RequestRefused:
    """Return the error that a call gets which a failure of the store is in the way of."""
    code: ErrorCode = "storage-failed"
    if isinstance(error, StorageFullError):
        code = "storage-full"
    elif isinstance(error, UnsureError):
        code = "storage-unsure"
    detail, _, next_step = str(error).partition("; ")
    return RequestRefused(code, detail, next_step or "look at the metaserver's log")


def _storage_failed(error: StorageError) -> Response:
    log.error("%s %s: %s", request.method, request.path, error)
    return _reply_problem(storage_problem(error))


def _invalid(error: InvalidDocumentError) -> Response:
    return _reply_problem(
        RequestRefused(
            "invalid-content", str(error), "correct the request; docs/api.md says what is possible"
        )
    )


def _pool_gone(_error: PoolNotFoundError) -> Response:
    return _reply_problem(pool_not_found((request.view_args or {}).get("pool", "")))


def _no_sentinel(error: SentinelUnavailableError) -> Response:
    return _reply_problem(
        RequestRefused(
            "sentinel-failed", str(error), "check that the Sentinels run and can be reached"
        )
    )
