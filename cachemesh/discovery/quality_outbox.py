"""The report of quality that goes with the next watch call: nothing is lost with a failed call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cachemesh.core.quality.report import ShardQuality, busiest, merged

_MOST_BYTES = 48 * 1024  # of 64 KiB that a watch call may have


class QualityOutbox:
    """What is to be reported, and has not been yet. One thread uses it.

    Attributes:
        felt: returns what was felt of each shard since its last call.
        settings: returns which settings of the pool clients override, see `told_settings`.
    """

    def __init__(self) -> None:
        self.felt: Callable[[], Mapping[str, ShardQuality]] = dict
        self.settings: Callable[[], Mapping[str, str]] = dict
        self._unsent: dict[str, ShardQuality] = {}
        self._under_way: list[str] = []

    def report(self) -> dict[str, Any] | None:
        """Return the report as a watch call carries it; None if there is nothing to tell.

        Of very many shards those are told that fail, or are called, most; the others later.
        """
        self._unsent = merged([self._unsent, self.felt()])
        told = {
            shard: quality
            for shard, quality in self._unsent.items()
            if quality.calls or quality.failed or quality.breaker != "closed"
        }
        self._unsent = told
        sent = busiest(told)
        report = {shard: quality.to_dict() for shard, quality in sent.items()}
        while len(json.dumps(report)) > _MOST_BYTES:
            report = dict(list(report.items())[: len(report) // 2])
        self._under_way = list(report)
        return report or None

    def sent(self) -> None:
        """Note that the last report has arrived."""
        for shard in self._under_way:
            del self._unsent[shard]
        self._under_way = []
