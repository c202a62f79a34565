"""Deals slots to shards: exactly by weight, moving as few slots as possible.

A shard's exact share is ``16384 * weight / sum of weights``; the shard gets that many slots,
rounded down or up. Owners are indexes into the list of shards; -1 stands for a slot without an
owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, islice, pairwise
from operator import ne

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement.keys import SLOT_COUNT

Ranges = tuple[tuple[int, int], ...]


def target_counts(weights: Sequence[int], current: Sequence[int]) -> list[int]:
    """Return how many slots each shard shall own: its exact share, rounded down or up.

    Slots that rounding leaves over go first to shards that own more than their count now, so that
    fewer slots move, then by largest remainder, then in order.

    Args:
        weights: of the shards.
        current: how many slots each shard owns now.
    """
    total = sum(weights)
    counts = [SLOT_COUNT * weight // total for weight in weights]
    remainders = [SLOT_COUNT * weight % total for weight in weights]
    by_claim = sorted(
        (i for i in range(len(weights)) if remainders[i]),
        key=lambda i: (current[i] <= counts[i], -remainders[i], i),
    )
    for i in by_claim[: SLOT_COUNT - sum(counts)]:
        counts[i] += 1
    return counts


def rebalance(weights: Sequence[int], owners: Sequence[int]) -> list[int]:
    """Return the new owner of each slot, with the fewest slots changing owners.

    Each shard keeps the first of its slots, up to its new count. The other slots fill the shards
    that have too few, in order.

    Args:
        weights: of the shards.
        owners: the present owner of each slot, -1 for none.
    """
    current = [0] * len(weights)
    for owner in owners:
        if owner >= 0:
            current[owner] += 1
    room = target_counts(weights, current)
    result = list(owners)
    free = []
    for slot, owner in enumerate(owners):
        if owner >= 0 and room[owner]:
            room[owner] -= 1
        else:
            free.append(slot)
    takers = (i for i, count in enumerate(room) for _ in range(count))
    for slot, taker in zip(free, takers, strict=True):
        result[slot] = taker
    return result


def ranges_from_owners(shards: int, owners: Sequence[int]) -> list[Ranges]:
    """Return each shard's slots as ascending, inclusive ranges.

    Args:
        shards: how many shards there are.
        owners: the owner of each slot.
    """
    ranges: list[list[tuple[int, int]]] = [[] for _ in range(shards)]
    following = islice(owners, 1, None)
    starts = [0, *compress(range(1, len(owners)), map(ne, owners, following)), len(owners)]
    for start, end in pairwise(starts):
        ranges[owners[start]].append((start, end - 1))
    return [tuple(r) for r in ranges]


def owners_from_ranges(names: Sequence[str], ranges: Sequence[object]) -> list[int]:
    """Return the owner of each slot, from the ranges in a pool document.

    Args:
        names: of the shards, for messages.
        ranges: the ``slots`` of each shard, as decoded.

    Raises:
        InvalidDocumentError: a range is not valid, or a slot has two owners or none.
    """
    owned = []
    for i, name in enumerate(names):
        listed = ranges[i]
        if not isinstance(listed, (list, tuple)):
            raise InvalidDocumentError(f"slots of shard {name!r} is not a list of [first, last]")
        owned += [(*_check_range(name, item), i) for item in listed]
    owners: list[int] = []
    for first, last, i in sorted(owned):
        if first < len(owners):
            raise InvalidDocumentError(
                f"Slots {first} to {last} of shard {names[i]!r} overlap those of shard "
                f"{names[owners[first]]!r}"
            )
        if first > len(owners):
            break
        owners += [i] * (last - first + 1)
    if len(owners) < SLOT_COUNT:
        raise InvalidDocumentError(f"Slot {len(owners)} is owned by no shard")
    return owners


def _check_range(name: str, item: object) -> tuple[int, int]:
    if (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) for end in item)
        and 0 <= item[0] <= item[1] < SLOT_COUNT
    ):
        return item[0], item[1]
    raise InvalidDocumentError(
        f"Slot range {item!r} of shard {name!r} is not [first, last] within 0 to {SLOT_COUNT - 1}"
    )
