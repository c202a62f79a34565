"""What one Sentinel says about the shards that it monitors, and what most Sentinels say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MonitoredShard:
    """What one Sentinel says about one shard.

    Attributes:
        master: address as clients are told; during a failover the promoted replica already.
        flags: those of SENTINEL MASTER.
        sentinels: how many Sentinels this one counts for the shard, itself included.
        usable: SENTINEL CKQUORUM's verdict; `detail` is its text.
        replicas: the addresses of the replicas that the Sentinel knows.
        options: the Sentinel options that the shard is monitored with.
    """

    master: str
    run_id: str
    flags: frozenset[str]
    quorum: int
    sentinels: int
    usable: bool
    detail: str
    replicas: tuple[str, ...]
    options: Mapping[str, str]


@dataclass(frozen=True)
class SentinelView:
    """What one Sentinel says.

    Attributes:
        error: why the Sentinel does not answer; None if it does.
        shards: by name; a shard that the Sentinel does not know is absent.
    """

    address: str
    error: str | None = None
    shards: Mapping[str, MonitoredShard] = field(default_factory=dict)


def majority(answers: Sequence[str | None]) -> str | None:
    """Return the address that more than half of the answers give, else None."""
    if not answers:
        return None
    address, votes = Counter(answers).most_common(1)[0]
    return address if votes * 2 > len(answers) else None
