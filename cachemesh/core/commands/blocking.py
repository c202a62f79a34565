"""How long a command may block on the server."""

from __future__ import annotations

import math
from collections.abc import Sequence

from redis.exceptions import DataError

from cachemesh.core.commands.encoding import as_keyword, encode

# Where a command has its timeout: at a position, as the last argument, or after the word BLOCK.
_SECONDS_AT = {"BLMOVE": 5, "BLMOVEM": 5, "BLMPOP": 1, "BZMPOP": 1}
_SECONDS_LAST = frozenset({"BLPOP", "BRPOP", "BZPOPMIN", "BZPOPMAX", "BRPOPLPUSH"})
_MILLISECONDS_LAST = frozenset({"WAIT", "WAITAOF"})
_BLOCK_OPTION = frozenset({"XREAD", "XREADGROUP", "TS.READ"})  # in milliseconds

_MISS_SECONDS = 0.1  # enough that an app's loop around the command does not spin

BLOCKING = _SECONDS_LAST | _SECONDS_AT.keys() | _MILLISECONDS_LAST | _BLOCK_OPTION


def block_seconds(name: str, args: Sequence[object]) -> float | None:
    """Return how many seconds a command may block on the server.

    Args:
        name: in capitals.
        args: the whole command, name first.

    Returns:
        None if the command does not block; infinity if it blocks without a timeout.
    """
    if name not in BLOCKING:
        return None
    if name in _BLOCK_OPTION:
        words = [as_keyword(arg) for arg in args]
        streams = words.index(b"STREAMS") if b"STREAMS" in words else len(words)
        if b"BLOCK" not in words[:streams]:
            return None
        at, unit = words.index(b"BLOCK") + 1, 0.001
    elif name in _SECONDS_AT:
        at, unit = _SECONDS_AT[name], 1.0
    else:
        at, unit = len(args) - 1, 0.001 if name in _MILLISECONDS_LAST else 1.0
    seconds = _number(args[at]) * unit if at < len(args) else 0.0
    return seconds if seconds > 0 else math.inf


def miss_delay(may_block: float, waited: float) -> float:
    """Return how many seconds to wait before a blocking command is answered as a miss.

    Without the delay, an app's loop around the command would spin.

    Args:
        may_block: seconds that the command may block.
        waited: seconds since the call.
    """
    return max(min(may_block, _MISS_SECONDS) - waited, 0.0)


def _number(arg: object) -> float:
    try:
        return float(encode(arg))
    except (DataError, ValueError):
        return 0.0  # the server reports the error
