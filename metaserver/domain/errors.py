"""Every way a request can be refused: one table, one exception.

The codes are those of docs/api.md; the form is RFC 9457 (problem details).
"""

from __future__ import annotations

from cachemesh.core.errors import CacheMeshError

# code -> (HTTP status, title)
PROBLEMS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not valid"),
    "unauthorized": (401, "A valid token is needed"),
    "forbidden": (403, "The token's role does not allow this"),
    "not-found": (404, "There is nothing here"),
    "pool-not-found": (404, "There is no such pool"),
    "shard-not-found": (404, "There is no such shard"),
    "token-not-found": (404, "There is no such token"),
    "sweep-not-found": (404, "There is no such sweep"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "request-timeout": (408, "The request took too long to arrive"),
    "pool-exists": (409, "The pool exists already"),
    "shard-exists": (409, "The shard exists already"),
    "token-exists": (409, "The token exists already"),
    "version-conflict": (409, "The pool has changed meanwhile"),
    "resize-in-progress": (409, "An earlier resize is not finished"),
    "sweep-needed": (409, "The sweep cannot be given up"),
    "failover-in-progress": (409, "The shard is failing over"),
    "failover-refused": (409, "The shard cannot fail over now; nothing was touched"),
    "last-shard": (409, "A pool keeps at least one shard"),
    "last-admin": (409, "One admin token has to stay"),
    "too-large": (413, "The request is too large"),
    "uri-too-long": (414, "The address of the request is too long"),
    "expectation-failed": (417, "The expectation of the request cannot be met"),
    "instance-rejected": (422, "The instance cannot become a shard's master"),
    "too-many-clients": (429, "There are too many clients"),
    "too-many-requests": (429, "Too many requests are under way"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "The metaserver failed"),
    "not-implemented": (501, "The transfer coding is not known"),
    "sentinel-failed": (502, "The Sentinels did not take the change; it was undone"),
    "failover-failed": (502, "The failover did not happen"),
    "storage-failed": (503, "The store failed; nothing was changed"),
    "storage-full": (507, "The store is full; nothing was changed"),
}


class Problem(CacheMeshError):
    """A request that is refused; nothing was changed.

    Attributes:
        code: a key of PROBLEMS.
        detail: what is wrong, with the thing's name.
        next_step: what to do about it, or None.
        extra: further members of the problem document.
    """

    def __init__(
        self, code: str, detail: str, next_step: str | None = None, **extra: object
    ) -> None:
        super().__init__(f"{detail}; {next_step}" if next_step else detail)
        self.code = code
        self.status, self.title = PROBLEMS[code]
        self.detail = detail
        self.next_step = next_step
        self.extra = extra

    def to_dict(self, instance: str) -> dict[str, object]:
        """The problem document; `instance` is the path of the request."""
        return {
            "type": f"urn:cachemesh:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "next": self.next_step,
            "instance": instance,
            **self.extra,
        }


def pool_not_found(pool: str) -> Problem:
    """404 for a pool."""
    return Problem(
        "pool-not-found", f"There is no pool {pool!r:.80}", "list the pools with GET /v1/pools"
    )


def shard_not_found(pool: str, shard: str) -> Problem:
    """404 for a shard."""
    return Problem(
        "shard-not-found",
        f"Pool {pool!r} has no shard {shard!r:.80}",
        f"list its shards with GET /v1/pools/{pool}/shards",
    )


def version_conflict(pool: str, expected: int, actual: int) -> Problem:
    """409 for a compare-and-set that came too late."""
    return Problem(
        "version-conflict",
        f"Pool {pool!r} is at version {actual}, not {expected}",
        "read the pool again, and repeat the change if it still makes sense",
        expected=expected,
        actual=actual,
    )
