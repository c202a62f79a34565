"""What an operation of the API is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from metaserver.api.contract.schema_parts import Schema

Access: TypeAlias = Literal["public", "read", "admin"]


@dataclass(frozen=True)
class Operation:
    """An operation of the API.

    Attributes:
        id: operationId, and the name of the Flask endpoint.
        access: the role that a token needs; `public` needs no token.
        path: as OpenAPI writes it, with {pool} and the like.
        body, reply: names of schemas; `reply` is None for a text or an empty reply.
        status: the HTTP status of success.
        query: schemas of the query parameters.
        media: the media type of the reply.
        listing: a token that is limited to pools gets what belongs to these. Without it, an
            operation that names no pool in its path is not for such a token.
        max_body: bytes that the request's body may have.
    """

    id: str
    access: Access
    method: str
    path: str
    summary: str
    reply: str | None = None
    body: str | None = None
    status: int = 200
    query: dict[str, Schema] = field(default_factory=dict)
    media: str = "application/json"
    max_body: int = 16 * 1024
    listing: bool = False

    @property
    def once(self) -> bool:
        """Whether the operation takes an idempotency key. A restore may be repeated as it is."""
        return self.access == "admin" and self.method != "GET" and self.id != "restoreBackup"
