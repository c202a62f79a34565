"""Who may do what: the bearer token of a request, and what its role allows."""

from __future__ import annotations

from metaserver.api.backend import Backend
from metaserver.api.contract import Operation
from metaserver.domain.errors import RequestRefused
from metaserver.store import Token


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
            "The bearer token is not known; it may have been revoked",
            "use another one, or have one created with POST /v1/tokens",
        )
    return token


def check_allowed(token: Token, wanted: Operation | None, request: str) -> None:
    """Refuse an operation that the token's role does not allow.

    Args:
        wanted: the operation; None for an endpoint that is none.
        request: its method and path, for the error.

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
