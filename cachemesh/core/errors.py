"""Every error that CacheMesh raises, and `shown`: a value as messages show it.

`CacheMeshError` is the root of all. Each concrete error also inherits the exception that existing
``except`` clauses of redis-py users catch. Messages name the pool, shard or address and the next
step, and never contain a password or a token.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis import exceptions as redis_exceptions
from redis.sentinel import MasterNotFoundError as RedisMasterNotFoundError


class CacheMeshError(Exception):
    """The root of all errors of this package."""


class InvalidDocumentError(CacheMeshError, ValueError):
    """A pool document, placement, name, address or setting is not valid.

    Attributes:
        kind: ``no-shards`` of a pool without shards, ``older`` of a document older than the one
            that a client routes by, else ``invalid``.
    """

    kind = "invalid"

    @classmethod
    def of_kind(cls, kind: str, message: str) -> InvalidDocumentError:
        """Return an error of a kind.

        Args:
            kind: as in the attribute.
            message: names the reason.
        """
        error = cls(message)
        error.kind = kind
        return error


class SnapshotError(CacheMeshError, ValueError):
    """A snapshot of a topology cannot be read, or is of no use here."""


class ConfigurationError(CacheMeshError, ValueError):
    """A URL or an option passed to the client is not valid."""


class InvalidKeyError(CacheMeshError, redis_exceptions.DataError):
    """A key has a type or length that Redis cannot hold."""


class CrossShardError(CacheMeshError, redis_exceptions.ResponseError):
    """The keys of one command are on several shards; nothing was sent."""


class UnsupportedCommandError(CacheMeshError, redis_exceptions.ResponseError):
    """The command has no meaning on a sharded pool, or is not supported; nothing was sent."""


class InvalidCursorError(CacheMeshError, redis_exceptions.ResponseError):
    """The cursor was not returned by SCAN on a pool; nothing was sent."""


class ShardUnavailableError(CacheMeshError, redis_exceptions.ConnectionError):
    """The shard that owns the key does not answer."""


class FencedError(ShardUnavailableError):
    """The shard refuses this client, which acts on too old a version of the pool; nothing was sent.

    Attributes:
        acts_on: the version that the client acted on.
        wanted: the lowest version that the shard lets clients act on.
    """

    acts_on = 0
    wanted = 0


class ShardTimeoutError(ShardUnavailableError, redis_exceptions.TimeoutError):
    """The shard did not answer in time; a write may or may not have run."""


class MasterNotFoundError(CacheMeshError, RedisMasterNotFoundError):
    """The Sentinels answer, but none knows a usable master of the shard."""


class LoginRefusedError(CacheMeshError, redis_exceptions.AuthenticationError):
    """A shard's master refuses the username or password, or requires one."""


class SentinelUnavailableError(CacheMeshError, redis_exceptions.ConnectionError):
    """None of the Sentinels answers.

    Attributes:
        timed_out: at least one Sentinel exceeded its timeout, and may only be slow.
    """

    timed_out = False


class PoolNotFoundError(CacheMeshError, redis_exceptions.ConnectionError):
    """The metaserver, the Sentinels or the file has no such pool."""


class MetaserverUnavailableError(CacheMeshError, redis_exceptions.ConnectionError):
    """None of the metaservers answers."""


class LeaseLostError(CacheMeshError, redis_exceptions.ConnectionError):
    """No metaserver answers, and the client was told not to serve by what it knew last."""


class LocalStackError(CacheMeshError, RuntimeError):
    """The local stack cannot be started or controlled."""


class MetaserverError(CacheMeshError):
    """A metaserver refused a request (RFC 9457, problem details).

    Args:
        status: HTTP status code.
        body: the problem document.

    Attributes:
        status: HTTP status code.
        code: machine-readable name of the problem, as listed in docs/api.md.
        detail: the reason, as a sentence.
        next_step: what to do about it, or None.
        body: the whole problem document.
    """

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        self.status = status
        self.body = dict(body)
        self.code = str(body.get("code", "unknown"))
        self.detail = str(body.get("detail") or body.get("title") or f"HTTP status {status}")
        next_step = body.get("next")
        self.next_step = str(next_step) if next_step else None
        super().__init__(f"{self.detail}; {self.next_step}" if self.next_step else self.detail)


def shown(value: object, most: int = 60) -> str:
    """Return the ``repr`` of a value for a message, cut to a number of characters.

    Args:
        value: of any type; no password or token.
        most: how many characters.
    """
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
