"""The form of a new pool: what the user enters, as the metaserver's API takes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import Address, check_name, check_new_pool_name, parse_address
from cachemesh.core.placement import Placement, SlotsPlacement
from cachemesh.core.placement.hash_based import HashBasedPlacement
from dashboard.forms import InputError, PoolForm
from dashboard.slot_map import SlotMap
from dashboard.upstream import OperatorProblem

SENTINEL_PORT = 26_379
_FIELDS = ("pool", "shards", "sentinels", "quorum", "strategy", "hash", "hash_tag")
_FIELD_OF = {  # code -> field
    "pool-exists": "pool",
    "shard-exists": "shards",
    "instance-rejected": "shards",
    "sentinel-failed": "sentinels",
}
_FIRST_WORDS = {  # of what is said of a placement that is not valid -> field
    "placement.hash_tag": "hash_tag",
    "placement.hash": "hash",
    "placement.named": "strategy",
    "label": "shards",
    "Shards": "shards",
    "The weights": "shards",
}


@dataclass(frozen=True)
class PlacedShard:
    """A shard of the preview: its master, and its share of the keys, 0 to 1."""

    name: str
    master: str
    weight: int
    share: float


@dataclass(frozen=True, kw_only=True)
class NewPoolForm(PoolForm):
    """What the page of a new pool shows.

    Attributes:
        shards, sentinels: as entered, one a line.
        quorum, strategy, hash, hash_tag: as entered; "" stands for the default.
        unnamed: whether the shards of strategy jedis have no names.
        allow_nonempty: whether masters may hold keys already.
        placed: of the preview, the shards.
        slots: of the preview, who owns which slots, or None.
    """

    template: ClassVar[str] = "new_pool.html"
    shards: str = ""
    sentinels: str = ""
    quorum: str = ""
    strategy: str = SlotsPlacement.strategy
    hash: str = ""
    hash_tag: str = ""
    unnamed: bool = False
    allow_nonempty: bool = False
    placed: tuple[PlacedShard, ...] = ()
    slots: SlotMap | None = None

    @property
    def strategies(self) -> tuple[str, ...]:
        """The strategies to choose from, the usual one first."""
        usual = SlotsPlacement.strategy
        return (usual, *sorted(set(Placement.strategies) - {usual}))

    @property
    def hashes(self) -> Mapping[str, tuple[str, ...]]:
        """The hash functions to choose from, by the strategies that have them."""
        having: dict[tuple[str, ...], list[str]] = {}
        for strategy, kind in sorted(Placement.strategies.items()):
            if issubclass(kind, HashBasedPlacement):
                having.setdefault(tuple(sorted(kind.hashes)), []).append(strategy)
        return {", ".join(strategies): names for names, strategies in having.items()}

    def field_of(self, problem: OperatorProblem) -> str:
        """Return the name of the field that the metaserver's problem is about, or ""."""
        named = re.split(r"[:.\[]", problem.detail, maxsplit=1)[0]
        if named in _FIELDS:
            return named
        begun = (field for words, field in _FIRST_WORDS.items() if problem.detail.startswith(words))
        return _FIELD_OF.get(problem.code) or next(begun, "")

    def body(self) -> dict[str, Any]:
        """Return the body of the request that makes the pool.

        Raises:
            InputError: a field does not hold what it should.
        """
        body: dict[str, Any] = {
            "pool": _checked("pool", check_new_pool_name, self.pool),
            "sentinels": [
                _checked("sentinels", _sentinel, word)
                for word in re.split(r"[\s,]+", self.sentinels)
                if word
            ],
            "shards": [_shard(line.strip()) for line in self.shards.splitlines() if line.strip()],
            "strategy": self.strategy,
        }
        given = {"hash": self.hash, "hash_tag": self.hash_tag, "named": not self.unnamed}
        body |= {name: value for name, value in given.items() if value not in ("", True)}
        if self.quorum:
            body["quorum"] = _whole(self.quorum, "quorum")
        if self.allow_nonempty:
            body["allow_nonempty"] = True
        for name, noun in (("shards", "shard"), ("sentinels", "Sentinel")):
            if not body[name]:
                raise _wrong(name, f"There is no {noun}", "Name one at least, one a line.")
        return body


def _shard(line: str) -> dict[str, Any]:
    """Parse ``NAME=HOST:PORT[,weight=N][,label=LABEL]``; a label may have commas.

    Raises:
        InputError: the line is not of that form.
    """
    name, equals, rest = line.partition("=")
    rest, labelled, label = rest.partition(",label=")
    address, comma, option = rest.partition(",")
    key, _, weight = option.partition("=")
    if not equals or (comma and key != "weight"):
        form = "Write NAME=HOST:PORT, and after that ,weight=N or ,label=LABEL if need be."
        raise _wrong("shards", f"{line!r:.100} is no shard", form)
    shard: dict[str, Any] = {
        "name": _checked("shards", partial(check_name, "shard"), name),
        "master": _checked("shards", parse_address, address),
    }
    if comma:
        shard["weight"] = _whole(weight, "shards")
    if labelled:
        shard["label"] = label
    return shard


def _whole(text: str, field: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise _wrong(field, f"{text!r:.80} is not a whole number", "Use one from 1 on.")


def _sentinel(text: str) -> Address:
    return parse_address(text, SENTINEL_PORT)


def _checked(field: str, check: Callable[[str], object], text: str) -> str:
    try:
        return str(check(text))
    except InvalidDocumentError as error:
        what, _, how = str(error).partition(": ")
        raise _wrong(field, what, f"{how[:1].upper()}{how[1:]}." if how else None) from error


def _wrong(field: str, detail: str, next_step: str | None) -> InputError:
    return InputError(OperatorProblem("No pool can be made of that", detail, next_step), field)


def placed_shards(body: Mapping[str, Any], placement: Placement) -> tuple[PlacedShard, ...]:
    """Return the shards of the preview.

    Args:
        body: of the request.
        placement: that the metaserver plans.
    """
    given: Sequence[Mapping[str, Any]] = body["shards"]
    masters = {shard["name"]: shard["master"] for shard in given}
    return tuple(
        PlacedShard(each.name, masters[each.name], each.weight, placement.share(each.name))
        for each in placement.shards
    )
