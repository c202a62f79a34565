"""What a change of a pool would do: the document after, the keys that move, what is lost.

document + change --> ChangePlan --> moves, losers, gainers --> keys moved, what is lost
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.placement import (
    JedisPlacement,
    Move,
    Moves,
    Placement,
    Shard,
    SlotsPlacement,
    moves,
)
from cachemesh.core.placement.base import read_shards, unknown_fields
from cachemesh.core.placement.hash_based import HashBasedPlacement
from cachemesh.core.plurals import counted
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.settings import check_settings
from metaserver.domain.errors import RequestRefused, shard_not_found

NO_MOVES = Moves((), 0, 0.0)

Strategy: TypeAlias = Literal["drop", "move"]
"""What becomes of keys that change their shard: they go cold, or are moved there."""


@dataclass(frozen=True)
class ChangePlan:
    """A change of a pool, worked out.

    Attributes:
        summary: the change in one line.
        before: None when the pool is created.
        after: None when the pool is deleted; its version is not raised yet.
        strategy: what becomes of the keys that change their shard.
        keys_per_second: how many are moved at most; 0 for no bound.
        max_latency: milliseconds; they are moved more slowly while a shard takes longer to answer.
            0 for no bound.
    """

    summary: str
    before: PoolDocument | None
    after: PoolDocument | None
    moves: Moves = NO_MOVES
    strategy: Strategy = "drop"
    keys_per_second: int = 0
    max_latency: int = 0

    @property
    def changes_nothing(self) -> bool:
        """Whether the documents before and after are equal."""
        return self.before is not None and self.before == self.after

    @property
    def moves_keys(self) -> bool:
        """Whether keys change their shard. Where only trying them could tell, some may."""
        return bool(self.moves.by_pair) or self.moves.sampled

    @property
    def losers(self) -> tuple[str, ...]:
        """The shards that give keys away, in name order: each is left with keys it does not own."""
        if self.moves.sampled and self.before is not None:
            return tuple(sorted(self.before.placement.names))
        return tuple(sorted({move.source for move in self.moves.by_pair}))

    @property
    def gainers(self) -> tuple[str, ...]:
        """The shards that get keys, in name order."""
        if self.moves.sampled and self.after is not None:
            return tuple(sorted(self.after.placement.names))
        return tuple(sorted({move.target for move in self.moves.by_pair}))

    @property
    def targets(self) -> dict[str, list[str]]:
        """The shards that get keys from each shard that gives some away."""
        found: dict[str, list[str]] = {}
        for move in self.moves.by_pair:
            found.setdefault(move.source, []).append(move.target)
        return found


def quorum_of(document: PoolDocument) -> int:
    """Return how many Sentinels must agree that a master is down.

    That is the quorum that the pool was created with, else a majority of its Sentinels.
    """
    quorum = document.extra.get("quorum")
    return quorum if isinstance(quorum, int) and quorum > 0 else majority_of(document.sentinels)


def majority_of(sentinels: Sequence[str]) -> int:
    """Return the smallest number that is more than half of the Sentinels."""
    return len(sentinels) // 2 + 1


def plan_create(
    pool: str,
    sentinels: Sequence[str],
    shards: Sequence[Shard],
    *,
    quorum: int | None = None,
    settings: Mapping[str, Any] | None = None,
    placement: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
) -> ChangePlan:
    """Plan the creation of a pool.

    Args:
        quorum: None for a majority of the Sentinels.
        placement, labels: as in `new_placement`.

    Raises:
        InvalidDocumentError: a name, weight or setting is not valid, or a shard is given twice.
        RequestRefused: invalid-content: a Sentinel is given twice, or the quorum is above their
            number.
    """
    if len(set(sentinels)) < len(sentinels):
        raise RequestRefused(
            "invalid-content", "sentinels: an address is there twice", "give each once"
        )
    if quorum is not None and quorum > len(sentinels):
        raise RequestRefused(
            "invalid-content",
            f"quorum: {quorum} is more than the {counted(len(sentinels), 'Sentinel')} of the pool",
            f"use 1 to {len(sentinels)}; a majority is {majority_of(sentinels)}",
        )
    document = PoolDocument(
        pool=pool,
        version=1,
        placement=new_placement(shards, placement or {}, labels or {}),
        sentinels=tuple(sentinels),
        settings=check_settings(settings or {}),
        extra={"quorum": majority_of(sentinels) if quorum is None else quorum},
    )
    names = ", ".join(shard.name for shard in shards)
    strategy = document.placement.strategy
    by = "" if strategy == SlotsPlacement.strategy else f" by {strategy}"
    count = counted(len(shards), "shard")
    return ChangePlan(f"create pool {pool}{by} with {count}: {names}", None, document)


def new_placement(
    shards: Sequence[Shard], fields: Mapping[str, Any], labels: Mapping[str, str]
) -> Placement:
    """Return the placement of a new pool: slots dealt evenly by weight, unless `fields` say else.

    Args:
        shards: in document order.
        fields: those of the placement's document: strategy, hash, hash_tag, named.
        labels: shard name -> the name that is hashed in its place.

    Raises:
        InvalidDocumentError: the strategy does not have a field, or does not take its value.
    """
    strategy = fields.get("strategy", SlotsPlacement.strategy)
    if "named" in fields and strategy != JedisPlacement.strategy:
        raise InvalidDocumentError(
            f"the field named is only for strategy 'jedis', not {strategy!r}; leave it out"
        )
    if strategy == SlotsPlacement.strategy:
        if labels:
            raise InvalidDocumentError("label has no meaning with strategy 'slots'; leave it out")
        return Placement.from_dict({**SlotsPlacement.even(shards).to_dict(), **fields})
    entries = [
        {"name": shard.name, "weight": shard.weight}
        | ({"label": labels[shard.name]} if shard.name in labels else {})
        for shard in shards
    ]
    return Placement.from_dict({**fields, "shards": entries})


def plan_add(document: PoolDocument, shard: Shard, master: str) -> ChangePlan:
    """Plan the addition of a shard; `master` is the address that the summary names.

    Raises:
        RequestRefused: shard-exists.
    """
    if shard.name in document.placement.names:
        raise RequestRefused(
            "shard-exists",
            f"Pool {document.pool!r} already has a shard {shard.name!r}",
            "choose another name, or change its weight",
        )
    shards = (*document.placement.shards, shard)
    return _replaced(document, shards, f"add shard {shard.name} ({master}), weight {shard.weight}")


def plan_remove(document: PoolDocument, name: str) -> ChangePlan:
    """Plan the removal of a shard.

    Raises:
        RequestRefused: shard-not-found, last-shard.
    """
    _find(document, name)
    shards = tuple(shard for shard in document.placement.shards if shard.name != name)
    if not shards:
        raise RequestRefused(
            "last-shard",
            f"Shard {name!r} is the last one of pool {document.pool!r}",
            "add another shard first, or delete the pool",
        )
    return _replaced(document, shards, f"remove shard {name}")


def plan_weight(document: PoolDocument, name: str, weight: int) -> ChangePlan:
    """Plan another weight for a shard.

    Raises:
        RequestRefused: shard-not-found.
        InvalidDocumentError: the weight is not an integer from 1 to 1000.
    """
    old = _find(document, name)
    changed = Shard(name, weight)
    shards = [changed if shard.name == name else shard for shard in document.placement.shards]
    return _replaced(document, shards, f"set weight of shard {name} from {old.weight} to {weight}")


def plan_placement(
    document: PoolDocument, fields: Mapping[str, Any] | None, labels: Mapping[str, str]
) -> ChangePlan:
    """Plan another placement of the same shards and weights.

    Args:
        fields, labels: as in `new_placement`. With None, or with the strategy slots where the pool
            has it, the slots are dealt evenly by weight again, and as few as possible move.

    Raises:
        InvalidDocumentError: the strategy does not have a field, or does not take its value.
        RequestRefused: invalid-content: a label is for a shard that the pool does not have.
    """
    before = document.placement
    if unknown := sorted(set(labels) - set(before.names)):
        raise RequestRefused(
            "invalid-content",
            f"labels: pool {document.pool!r} has no shard {unknown[0]!r:.80}",
            f"its shards are {', '.join(before.names)}",
        )
    asked = before if fields is None else new_placement(before.shards, fields, labels)
    if asked.strategy == before.strategy == SlotsPlacement.strategy:
        after, summary = before.with_shards(before.shards), "deal the slots evenly by weight again"
    elif fields is None:
        after, summary = before, f"deal keys again: by {before.strategy} there is nothing to deal"
    else:
        after = _with_unknown_fields(asked, before)
        summary = f"place keys by {_in_words(after)} instead of {_in_words(before)}"
    return ChangePlan(summary, document, document.replace(placement=after), moves(before, after))


def _with_unknown_fields(placement: Placement, former: Placement) -> Placement:
    """Return a placement with the fields of a former one that this release does not know."""
    document, kept = placement.to_dict(), former.to_dict()
    (_, entries), (_, former_entries) = read_shards(document), read_shards(kept)
    shards = [
        {**unknown_fields(former_entries[name], "name", "weight", "slots", "label"), **entry}
        for name, entry in entries.items()
    ]
    more = unknown_fields(kept, "strategy", "hash", "hash_tag", "named", "shards")
    return Placement.from_dict({**more, **document, "shards": shards})


def _in_words(placement: Placement) -> str:
    if not isinstance(placement, HashBasedPlacement):
        return placement.strategy
    tag = "" if placement.hash_tag is None else f", hash tag {placement.hash_tag}"
    return f"{placement.strategy} (hash {placement.hash}{tag})"


def plan_settings(document: PoolDocument, changes: Mapping[str, Any]) -> ChangePlan:
    """Plan other settings; None resets a setting to its default.

    A setting that this release does not know can be reset too.

    Raises:
        InvalidDocumentError: a value is not valid; the error names the setting.
    """
    given = check_settings({name: value for name, value in changes.items() if value is not None})
    kept = {name: value for name, value in document.settings.items() if name not in changes}
    text = ", ".join(
        f"{name} to {'its default' if value is None else _shown(value)}"
        for name, value in changes.items()
    )
    after = document.replace(settings={**kept, **given})
    return ChangePlan(f"set {text}" if text else "set nothing", document, after)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def plan_delete(document: PoolDocument) -> ChangePlan:
    """Plan the deletion of a pool. Its instances keep running with their keys."""
    count = counted(len(document.placement.shards), "shard")
    return ChangePlan(f"delete pool {document.pool} with {count}", document, None)


def keys_moved(plan: ChangePlan, keys: Mapping[str, int | None]) -> int | None:
    """Estimate how many keys change their shard.

    Args:
        keys: shard -> its number of keys, None where that is not known.

    Returns:
        The estimate, or None if the number of a shard that gives keys away is not known, or none of
        the keys that were tried changes its shard, and others may.
    """
    if plan.before is None:
        return 0
    if plan.moves.sampled and not plan.moves.by_pair:
        return None if any(keys.get(shard) != 0 for shard in plan.losers) else 0
    share = cache(plan.before.placement.share)
    total = 0.0
    for move in plan.moves.by_pair:
        held = keys.get(move.source)
        if held is None:
            return None
        total += held * move.share / share(move.source)
    return round(total)


def what_is_lost(plan: ChangePlan, keys: Mapping[str, int | None]) -> list[str]:
    """Say what the change destroys, one sentence each; args as `keys_moved`."""
    if plan.after is None and plan.before is not None:
        return [
            f"pool {plan.before.pool} is gone for every client; "
            "its instances keep running with the keys they hold"
        ]
    if not plan.moves_keys or plan.strategy == "move":
        return []
    count = keys_moved(plan, keys)
    if count == 0:
        return []
    share = f"{plan.moves.share:.0%}" if plan.moves.share >= 0.01 else "under 1%"
    copied = "and strategy 'drop' copies nothing"
    if count == 1:
        why = "its slot moves" if plan.moves.slots else "its shard changes"
        return [f"about 1 cached key ({share}) goes cold: {why} {copied}"]
    about = "an unknown number of" if count is None else f"about {count:,}"
    why = "their slots move" if plan.moves.slots else "their shard changes"
    return [f"{about} cached keys ({share}) go cold: {why} {copied}"]


def moves_as_dicts(by_pair: Sequence[Move]) -> list[dict[str, object]]:
    """Return moves as docs/api.md shows them."""
    return [
        {"source": m.source, "target": m.target, "slots": m.slots, "share": m.share}
        for m in by_pair
    ]


def _replaced(document: PoolDocument, shards: Sequence[Shard], summary: str) -> ChangePlan:
    placement = document.placement.with_shards(shards)
    after = document.replace(placement=placement)
    return ChangePlan(summary, document, after, moves(document.placement, placement))


def _find(document: PoolDocument, name: str) -> Shard:
    for shard in document.placement.shards:
        if shard.name == name:
            return shard
    raise shard_not_found(document.pool, name)
