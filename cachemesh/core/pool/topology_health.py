"""How current a topology is, and whether those that tell of changes answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TopologyHealth:
    """What a client routes by, and how its control plane does.

    Attributes:
        version: of the pool document.
        source: where the document came from: ``metaserver``, ``sentinel``, ``file``,
            ``zookeeper``, or ``snapshot`` for as long as that has not been confirmed.
        age: seconds since the source has confirmed the document, at best. A metaserver does that
            with each watch call, which it holds for a while.
        masters_from: where the masters came from: ``sentinel`` or ``snapshot``.
        masters_age: seconds since Sentinels last answered.
        source_answers: whether the source did when last asked.
        sentinels_answer: whether a Sentinel did when last asked.
        refused: the documents that were refused, counted by kind: ``no-shards``, ``older``,
            ``invalid``.
    """

    version: int
    source: str
    age: float
    masters_from: str
    masters_age: float
    source_answers: bool
    sentinels_answer: bool
    refused: Mapping[str, int]

    @property
    def control_plane_answers(self) -> bool:
        """Whether both the source and a Sentinel did when last asked."""
        return self.source_answers and self.sentinels_answer
