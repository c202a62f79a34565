"""SCAN over shards with one integer cursor that holds all there is to know. No I/O.

    bit 126   125..112        111..84          83..64           63..0
    1       | which shard | placement      | its master     | that server's cursor |

Shards are scanned one after the other, in placement order. Any client of the pool, in any process,
can go on with a cursor; 0 begins and 0 ends, as on one server.

A cursor is bound to the placement and to the master it was made with, because

- where the placement has changed, keys may have moved to a shard that was done already, so the
  scan begins again: no key that is there all the time is missed, whatever was resized;
- a server's own cursor is a position in that server's hash tables, worthless to the replica that
  took its place, so after a failover that one shard is scanned again.

Keys may come twice, as Redis says of SCAN, and after such a change many do. As on one server, a
master that is restarted in place may make a scan miss keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from json import dumps
from typing import Any, NamedTuple

from redis.exceptions import InvalidResponse

from cachemesh.core.errors import InvalidCursorError
from cachemesh.core.placement import Placement

MasterOf = Callable[[str], object]
"""Shard name -> whatever its master now is called; equal as long as it is the same."""


def no_master(_: str) -> None:
    """`MasterOf` where nobody knows the masters."""


_MARK = 1 << 126
_SHARD_BITS, _PLACEMENT_BITS, _MASTER_BITS, _SERVER_BITS = 14, 28, 20, 64


class ScanPosition(NamedTuple):
    """Where a scan stands: which shard, and that server's own cursor."""

    shard: str
    server_cursor: int


def scan_position(cursor: Any, placement: Placement, master_of: MasterOf) -> ScanPosition:
    """Where to go on with a cursor.

    Raises:
        InvalidCursorError: not an integer that a SCAN of a pool gave.
    """
    number = _number(cursor)
    if number == 0:
        return ScanPosition(placement.names[0], 0)
    number -= _MARK
    if not 0 <= number < _MARK:
        raise InvalidCursorError(
            f"Cursor {_shown(cursor)} is not one that SCAN of a pool gave; begin with 0"
        )
    number, server_cursor = divmod(number, 1 << _SERVER_BITS)
    number, master = divmod(number, 1 << _MASTER_BITS)
    at, fingerprint = divmod(number, 1 << _PLACEMENT_BITS)
    if fingerprint != placement_fingerprint(placement) or at >= len(placement.names):
        return ScanPosition(placement.names[0], 0)
    shard = placement.names[at]
    return ScanPosition(shard, server_cursor if master == _master_print(master_of(shard)) else 0)


def next_cursor(
    done: ScanPosition, server_cursor: int, placement: Placement, before: object, after: object
) -> int:
    """The cursor to hand out once a shard has answered; 0 if that was the last of all.

    Args:
        done: what was asked.
        server_cursor: what the server gave.
        before, after: the shard's master when it was asked, and now that it has answered. If they
            differ, nobody knows which one it was.

    Raises:
        redis.InvalidResponse: a server's cursor of more than 64 bits.
    """
    if not 0 <= server_cursor < 1 << _SERVER_BITS:
        raise InvalidResponse(f"Shard {done.shard!r} answered SCAN with cursor {server_cursor}")
    at = placement.names.index(done.shard)
    if before != after:
        return _cursor(at, placement, after, 0)
    if server_cursor:
        return _cursor(at, placement, after, server_cursor)
    if at + 1 == len(placement.names):
        return 0
    return _cursor(at + 1, placement, None, 0)


def _cursor(at: int, placement: Placement, master: object, server_cursor: int) -> int:
    number = at << _PLACEMENT_BITS | placement_fingerprint(placement)
    number = number << _MASTER_BITS | _master_print(master)
    return _MARK | number << _SERVER_BITS | server_cursor


@lru_cache(maxsize=16)
def _fingerprint_of(known: _ById) -> int:
    document = known.placement.to_dict()
    return _print_of(dumps(document, sort_keys=True, default=str), _PLACEMENT_BITS)


class _ById:
    """A placement as a key of a cache; comparing placements would take longer than the hash."""

    __slots__ = ("placement",)

    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def __hash__(self) -> int:
        return id(self.placement)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.placement is self.placement


def placement_fingerprint(placement: Placement) -> int:
    """28 bits of a hash of all that decides where keys are; the same in every process."""
    return _fingerprint_of(_ById(placement))


def _master_print(master: object) -> int:
    return _print_of(str(master), _MASTER_BITS)


def _print_of(text: str, bits: int) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") >> (32 - bits)


def _number(cursor: Any) -> int:
    try:
        if not isinstance(cursor, (int, str, bytes)) or isinstance(cursor, bool):
            raise TypeError("not a form of an integer that Redis takes")
        if not isinstance(cursor, int) and len(cursor) > 40:
            raise ValueError("longer than any cursor")
        return int(cursor)
    except (TypeError, ValueError) as error:
        raise InvalidCursorError(
            f"Cursor {_shown(cursor)} is not an integer; begin with 0 and hand back what SCAN gives"
        ) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def server_scan(words: Sequence[Any], at: ScanPosition) -> tuple[Any, ...]:
    """A SCAN as it goes to the server: everything but the cursor as it was."""
    return (words[0], at.server_cursor, *words[2:])
