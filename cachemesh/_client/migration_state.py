"""What a client knows of a migration while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from cachemesh.core.migration.routing import MigratingPlacement
from cachemesh.core.migration.settled import SettledKeys
from cachemesh.core.rerouting import Pair
from cachemesh.transport.shard_base import S


@dataclass(frozen=True)
class Hold:
    """The preparation of a resize: commands on keys that move are not sent.

    Attributes:
        version: of the document that began it.
        placement: what is routed by meanwhile.
        shards: those on which nothing is to be under way.
        gate: where commands wait for the next document.
    """

    version: int
    placement: MigratingPlacement
    shards: frozenset[str]
    gate: Any


class Stage(Generic[S]):
    """What is known of one stage of a migration; a container of the keys that are settled.

    Whoever was routed in a stage goes on with that stage's shards. At the next stage these are
    retired, so that nothing is sent then that was begun before.

    Attributes:
        settled: keys that are where they move to.
        shards: from and to which they move.
        pullers: by the shards between which they pull.
    """

    def __init__(self) -> None:
        self.settled = SettledKeys()
        self.shards: Mapping[str, S] = {}
        self.pullers: dict[Pair, Any] = {}

    def __contains__(self, key: object) -> bool:
        return key in self.settled
