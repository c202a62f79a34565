"""SCAN over shards, with one integer cursor that contains the whole state. No I/O.

    bit 126   125..112        111..84          83..64           63..0
    1       | which shard | placement      | its master     | that server's cursor |

Shards are scanned one after the other, in placement order. Any client of the pool, in any process,
can continue from a cursor; 0 begins and 0 ends, as on one server.

A cursor is bound to the placement and to the master with which it was made:

- After a change of the placement, keys may have moved to a shard that is already done. The scan
  begins again, so that no key is missed that exists all the time.
- A server's own cursor is a position in that server's hash tables, and means nothing to the replica
  that takes its place. After a failover that shard is scanned again.

Keys may come twice, as Redis says of SCAN; after such a change many do. As on one server, a scan
may miss keys if a master is restarted in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from json import dumps
from typing import Any, NamedTuple

from redis.exceptions import InvalidResponse

from cachemesh.core.errors import InvalidCursorError, shown
from cachemesh.core.placement import Placement

MasterOf = Callable[[str], object]
"""Takes a shard name and returns its current master in any form; equal values mean the same master.
"""


def no_master(_: str) -> None:
    """Return None: the `MasterOf` for callers that do not know the masters."""


_MARK = 1 << 126
_SHARD_BITS, _PLACEMENT_BITS, _MASTER_BITS, _SERVER_BITS = 14, 28, 20, 64


class ScanPosition(NamedTuple):
    """How far a scan has come.

    Attributes:
        shard: name of the shard to ask next.
        server_cursor: that server's own cursor.
    """

    shard: str
    server_cursor: int


def scan_position(cursor: Any, placement: Placement, master_of: MasterOf) -> ScanPosition:
    """Return the position from which a cursor continues.

    Args:
        cursor: as given to SCAN.
        placement: the current placement.
        master_of: returns the current master of a shard.

    Raises:
        InvalidCursorError: the cursor was not returned by SCAN of a pool.
    """
    number = _number(cursor)
    if number == 0:
        return ScanPosition(placement.names[0], 0)
    number -= _MARK
    if not 0 <= number < _MARK:
        raise InvalidCursorError(
            f"Cursor {shown(cursor)} is not one that SCAN of a pool gave; begin with 0"
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
    """Return the cursor to hand out after a shard's reply; 0 if the last shard is done.

    Args:
        done: the position that was asked.
        server_cursor: the cursor in the server's reply.
        placement: the current placement.
        before, after: the shard's master before the request and after the reply. If the two differ,
            the reply may be from either, so the shard is scanned again.

    Raises:
        redis.InvalidResponse: the server's cursor has more than 64 bits.
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
    """Makes a placement a cache key by identity, which is faster than comparing placements."""

    __slots__ = ("placement",)

    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def __hash__(self) -> int:
        return id(self.placement)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and other.placement is self.placement


def placement_fingerprint(placement: Placement) -> int:
    """Return a 28-bit hash of all that decides where keys are; the same in every process.

    Args:
        placement: the placement.
    """
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
            f"Cursor {shown(cursor)} is not an integer; begin with 0 and hand back what SCAN gives"
        ) from error


def server_scan(words: Sequence[Any], at: ScanPosition) -> tuple[Any, ...]:
    """Return a SCAN as it is sent to the server: with the server's own cursor.

    Args:
        words: the call in single words.
        at: the position to continue from.
    """
    return (words[0], at.server_cursor, *words[2:])
