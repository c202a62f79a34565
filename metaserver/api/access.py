"""Who may make a call: its bearer token, and what the token's role and pools allow."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response, g, request

from metaserver.api.backend import Backend
from metaserver.api.contract import BY_ID, OPERATIONS, Operation
from metaserver.api.refusals import Refusal
from metaserver.domain.errors import RequestRefused
from metaserver.store import Token

_REFUSED = (401, 403, 413, 429)
_PUBLIC = frozenset(each.path for each in OPERATIONS if each.access == "public")
ANYBODY = "anybody"
"""The actor of a call without a token that is known."""


def check_access(app: Flask, backend: Backend) -> None:
    """Have the app check the access of every request before its view is called."""
    app.before_request(partial(_authorize, backend))
    app.after_request(partial(_count_until_sent, backend))
    app.after_request(partial(_note_refusal, backend))


def bearer() -> Token | None:
    """Return the token of this request, or None if the operation needs none."""
    found: Token | None = g.get("bearer")
    return found


def actor_name(token: Token | None) -> str:
    """Return a caller's name for the audit log: "token:NAME", or ANYBODY without a token."""
    return ANYBODY if token is None else f"token:{token.name}"


def recognised(backend: Backend, authorization: str) -> Token:
    """Return the token of a request.

    Args:
        authorization: the value of the request's header; empty without one.

    Raises:
        RequestRefused: unauthorized.
        StorageError: the tokens cannot be read.
    """
    kind, _, text = authorization.partition(" ")
    if kind.lower() != "bearer" or not text.strip():
        raise RequestRefused(
            "unauthorized",
            "The request carries no bearer token",
            "send the header 'Authorization: Bearer TOKEN'",
        )
    token = backend.tokens.recognise(text.strip())
    if token is None:
        raise RequestRefused(
            "unauthorized",
            "The bearer token is not known; it may have been revoked or replaced, or have expired",
            "use another one, or have one created with POST /v1/tokens",
        )
    return token


def check_allowed(token: Token, wanted: Operation | None, request: str, pool: str | None) -> None:
    """Refuse an operation that the token's role or pools do not allow.

    What is said does not tell whether the pool exists.

    Args:
        wanted: the operation; None for an endpoint that is none.
        request: its method and path, for the error.
        pool: the pool that the path or the query names; None: none.

    Raises:
        RequestRefused: forbidden.
    """
    allowed = ("read", "admin") if wanted is not None and wanted.access == "read" else ("admin",)
    if wanted is None or token.role not in allowed:
        raise RequestRefused(
            "forbidden",
            f"Token {token.name!r} has the role {token.role}, which does not allow {request}",
            "use a token of role admin",
        )
    if pool is None and wanted.listing:
        return  # the view leaves out what the token does not cover
    if not token.covers(pool):
        raise RequestRefused(
            "forbidden",
            f"Token {token.name!r} is limited to {', '.join(token.pools or ()):.200}, which does "
            f"not allow {request}",
            "use a token of all pools" if pool is None else "use a token for this pool",
        )


def _authorize(backend: Backend) -> None:
    """Refuse a request whose token does not allow it, unless the operation is public."""
    name = (request.endpoint or "").rpartition(".")[2]
    wanted = BY_ID.get(name)
    if wanted is not None and wanted.access == "public":
        return
    if request.url_rule is None and request.path in _PUBLIC:
        return  # Flask goes on to reply 405, which tells nothing that is not public
    if backend.context.stopping.is_set():
        raise RequestRefused("stopping", "This metaserver stops", "ask another one")
    g.bearer = token = recognised(backend, request.headers.get("Authorization", ""))
    backend.call_limits.enter(token.id, name)
    g.counted = name
    if request.url_rule is None:
        return  # Flask goes on to reply 404 or 405
    named = request.args if wanted is not None and wanted.listing else request.view_args
    pool = (named or {}).get("pool")
    check_allowed(token, wanted, f"{request.method} {request.path:.200}", pool)
    if backend.context.config.observe is not None and wanted is not None:
        _refuse_to_change(wanted)


def _refuse_to_change(wanted: Operation) -> None:
    """Refuse what only a full metaserver can do: it would be undone by the next look."""
    if wanted.access == "admin" and wanted.method != "GET":
        raise RequestRefused(
            "observer",
            f"This metaserver only observes Sentinels, so that it does not do {wanted.id}",
            "start one with --db or --zookeeper, and create the pool there: cachemesh pool create",
        )


def _count_until_sent(backend: Backend, reply: Response) -> Response:
    if "counted" in g and g.bearer is not None:
        reply.call_on_close(partial(backend.call_limits.leave, g.bearer.id, g.counted))
    return reply


def _note_refusal(backend: Backend, reply: Response) -> Response:
    """Log a call that was refused for who makes it, or for how many or how large they are.

    The path may hold anything, so that of it only a pool that exists is logged.
    """
    if reply.status_code in _REFUSED:
        operation = (request.endpoint or "none").rpartition(".")[2]
        pool = (request.view_args or {}).get("pool")
        known = pool if pool is not None and backend.hub.known(pool) is not None else None
        code = g.get("problem", str(reply.status_code))
        backend.refusals.note(
            Refusal(actor_name(bearer()), request.remote_addr or "", operation, known, code)
        )
    return reply
