"""Every reason for which a request is refused: one list of codes, one exception.

The codes are those of docs/api.md. `metaserver.api.problem_details` gives each its HTTP status.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from cachemesh.core.errors import CacheMeshError

ErrorCode: TypeAlias = Literal[
    "bad-request",
    "unauthorized",
    "forbidden",
    "not-found",
    "pool-not-found",
    "shard-not-found",
    "token-not-found",
    "sweep-not-found",
    "resize-not-found",
    "sentinel-not-found",
    "method-not-allowed",
    "request-timeout",
    "pool-exists",
    "shard-exists",
    "token-exists",
    "sentinel-exists",
    "sentinel-refused",
    "version-conflict",
    "resize-in-progress",
    "resize-given-up",
    "resize-refused",
    "pool-paused",
    "pool-not-paused",
    "move-impossible",
    "sweep-needed",
    "failover-in-progress",
    "failover-refused",
    "last-shard",
    "last-admin",
    "call-in-progress",
    "answer-lost",
    "too-large",
    "uri-too-long",
    "expectation-failed",
    "instance-rejected",
    "invalid-content",
    "idempotency-key-reused",
    "too-many-clients",
    "too-many-requests",
    "too-many-changes",
    "headers-too-large",
    "internal-error",
    "not-implemented",
    "observer",
    "sentinel-failed",
    "failover-failed",
    "not-leader",
    "stopping",
    "storage-failed",
    "storage-unsure",
    "storage-full",
]


class RequestRefused(CacheMeshError):
    """A request is refused, or failed and was undone: nothing is changed.

    The exceptions are "failover-failed" with `undone=False`, which repair goes on to resolve, and
    "storage-unsure".

    Attributes:
        code: names the reason.
        detail: what is wrong, with the name of the pool, shard or field.
        next_step: what the caller can do about it, or None.
        extra: further members of the reply.
    """

    def __init__(
        self, code: ErrorCode, detail: str, next_step: str | None = None, **extra: object
    ) -> None:
        super().__init__(f"{detail}; {next_step}" if next_step else detail)
        self.code = code
        self.detail = detail
        self.next_step = next_step
        self.extra = extra


def pool_not_found(pool: str) -> RequestRefused:
    """Return the error for a pool that does not exist."""
    return RequestRefused(
        "pool-not-found", f"There is no pool {pool!r:.80}", "list the pools with GET /v1/pools"
    )


def shard_not_found(pool: str, shard: str) -> RequestRefused:
    """Return the error for a shard that the pool does not have."""
    return RequestRefused(
        "shard-not-found",
        f"Pool {pool!r} has no shard {shard!r:.80}",
        f"list its shards with GET /v1/pools/{pool}/shards",
    )


def version_conflict(pool: str, expected: int, actual: int) -> RequestRefused:
    """Return the error for a change that was made for another version of the pool."""
    return RequestRefused(
        "version-conflict",
        f"Pool {pool!r} is at version {actual}, not {expected}",
        "read the pool again, and repeat the change if it still makes sense",
        expected=expected,
        actual=actual,
    )
