"""Maps each error to an exit code, a message and a next step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import click
import redis

from cachemesh.core.errors import (
    CacheMeshError,
    ConfigurationError,
    CrossShardError,
    InvalidDocumentError,
    InvalidKeyError,
    MasterNotFoundError,
    MetaserverError,
    MetaserverUnavailableError,
    PoolNotFoundError,
    UnsupportedCommandError,
)


class ExitCode(IntEnum):
    """The exit codes of the command; 130 is what a shell reports for SIGINT."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_FOUND_OR_CONFLICT = 4
    UNHEALTHY = 5
    PLAN_HAS_CHANGES = 6
    INTERRUPTED = 130


class CommandError(CacheMeshError):
    """A command cannot go on.

    Args:
        what: what the error is about, such as "pool cache".
        why: what is wrong with it.
        next_step: what the user can do.
        code: the exit code.
    """

    def __init__(
        self, what: str, why: str, next_step: str, code: ExitCode = ExitCode.FAILED
    ) -> None:
        self.next_step = next_step
        self.code = code
        super().__init__(f"{what}: {why}")


@dataclass(frozen=True)
class Explanation:
    """An error as the user sees it: message, next step and exit code."""

    message: str
    next_step: str
    code: ExitCode


_BY_STATUS = {
    400: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND_OR_CONFLICT,
    409: ExitCode.NOT_FOUND_OR_CONFLICT,
    413: ExitCode.USAGE,
}
_BY_CODE = {"invalid-content": ExitCode.USAGE}
_OF_ITSELF = frozenset(
    {"unknown", "internal-error", "storage-failed", "storage-full", "storage-unsure"}
)
"""Error codes about the metaserver itself; other errors name the pool, shard or instance."""
_NEXT = {
    "pool-not-found": "see: cachemesh pool list",
    "sentinel-not-found": "see: cachemesh sentinel list",
    "shard-not-found": "see: cachemesh shard list",
    "token-not-found": "see: cachemesh token list",
    "unauthorized": "name the file of a valid token by --token-file or CACHEMESH_TOKEN_FILE; "
    "an admin makes one: cachemesh token create",
    "version-conflict": "look at the pool again (cachemesh pool status), and repeat the command "
    "if it still makes sense",
    "failover-in-progress": "wait until it is over: cachemesh event list",
    "not-leader": "name the metaserver that leads in the URL too: cachemesh metaserver list",
    "resize-in-progress": "wait until it is over (cachemesh migration watch, cachemesh pool "
    "status), or give a resize up: cachemesh migration abort",
    "not-empty": "FLUSHALL it if nobody needs them, choose an empty instance, "
    "or pass --allow-nonempty",
}
"""Next steps in terms of the CLI; the metaserver's own are in terms of its API."""
_BY_CLASS: tuple[tuple[type[Exception], ExitCode, str], ...] = (
    (PoolNotFoundError, ExitCode.NOT_FOUND_OR_CONFLICT, "see: cachemesh pool list"),
    (MetaserverUnavailableError, ExitCode.UNREACHABLE, "is the metaserver running?"),
    (MasterNotFoundError, ExitCode.UNREACHABLE, "see: cachemesh sentinel list"),
    (InvalidDocumentError, ExitCode.USAGE, "see: cachemesh --help"),
    (ConfigurationError, ExitCode.USAGE, "see: cachemesh --help"),
    (InvalidKeyError, ExitCode.USAGE, "give a key of 1 byte to 512 MiB"),
    (CrossShardError, ExitCode.USAGE, "give the keys one by one"),
    (UnsupportedCommandError, ExitCode.USAGE, "see: cachemesh --help"),
    (redis.AuthenticationError, ExitCode.FAILED, "check the password in the URL"),
    (redis.ConnectionError, ExitCode.UNREACHABLE, "see: cachemesh pool status"),
    (redis.TimeoutError, ExitCode.UNREACHABLE, "see: cachemesh pool status"),
    (redis.RedisError, ExitCode.FAILED, "see: cachemesh pool status"),
)


def explain(error: CacheMeshError | redis.RedisError | click.ClickException) -> Explanation:
    """Return the message, next step and exit code for an error."""
    if isinstance(error, click.UsageError):
        return _usage(error)
    if isinstance(error, click.ClickException):
        return Explanation(error.format_message(), "see: cachemesh --help", ExitCode.FAILED)
    if isinstance(error, CommandError):
        return Explanation(str(error), error.next_step, error.code)
    if isinstance(error, MetaserverError):
        return _refused(error)
    code, default = ExitCode.FAILED, "see: cachemesh --help"
    for kind, its_code, its_default in _BY_CLASS:
        if isinstance(error, kind):
            code, default = its_code, its_default
            break
    message, next_step = _split(str(error) or type(error).__name__)
    return Explanation(message, next_step or default, code)


def _refused(error: MetaserverError) -> Explanation:
    what = "metaserver: " if error.code in _OF_ITSELF else ""
    reason = str(error.body.get("reason", error.code))
    return Explanation(
        f"{what}{error.detail}",
        _NEXT.get(reason) or error.next_step or "see the metaserver's log",
        # Not a metaserver: its status may mean anything.
        ExitCode.FAILED
        if error.code == "not-json"
        else _BY_CODE.get(error.code, _BY_STATUS.get(error.status, ExitCode.FAILED)),
    )


def _split(message: str) -> tuple[str, str]:
    """Split a message of the form "what is wrong; what to do"; the second half may be empty."""
    detail, separator, next_step = message.rpartition("; ")
    if separator and next_step.count("(") >= next_step.count(")"):
        return detail, next_step
    return message, ""


def _usage(error: click.UsageError) -> Explanation:
    command = error.ctx.command_path if error.ctx else "cachemesh"
    message = " ".join(error.format_message().split())  # click breaks a list of choices into lines
    return Explanation(f"{command}: {message}", f"see: {command} --help", ExitCode.USAGE)
