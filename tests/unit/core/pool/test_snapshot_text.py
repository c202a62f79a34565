"""The text of a snapshot is read as it was written, or refused; and which snapshot stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cachemesh.core.errors import SnapshotError
from cachemesh.core.names import Address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.snapshot import RENEW_SECONDS, Snapshot, successor
from cachemesh.core.pool.topology import Topology

NOW = 1_800_000_000.0
SOURCE = "cachemesh://meta:7700/cache"
PLACEMENT = SlotsPlacement.even([Shard("cache-0"), Shard("cache-1")])
DOCUMENT = PoolDocument("cache", 7, PLACEMENT, sentinels=("s:26379",), extra={"newer": 1.5})
MASTERS = {"cache-0": Address("10.0.0.1", 6379), "cache-1": Address("::1", 6380)}
REPLICAS = {"cache-0": (Address("10.0.0.2", 6379),), "cache-1": ()}
SNAPSHOT = Snapshot(SOURCE, NOW, Topology(DOCUMENT, MASTERS).with_replicas(REPLICAS))


def test_a_snapshot_is_read_as_it_was_written() -> None:
    back = Snapshot.from_json(SNAPSHOT.to_json())
    assert back == SNAPSHOT
    assert back.topology.document.extra == {"newer": 1.5}
    back.check("cache", SOURCE, NOW)


def test_a_text_that_is_cut_off_or_altered_is_refused() -> None:
    text = SNAPSHOT.to_json()
    for length in range(0, len(text), 3):
        with pytest.raises(SnapshotError):
            Snapshot.from_json(text[:length])
    for at in range(0, len(text), 7):
        altered = f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"
        with pytest.raises(SnapshotError):
            Snapshot.from_json(altered)


@pytest.mark.parametrize(
    ("pool", "source", "now", "reason"),
    [
        ("other", SOURCE, NOW, "of pool 'cache', not 'other'"),
        ("cache", "cachemesh://else:7700/cache", NOW, "not of cachemesh://else"),
        ("cache", SOURCE, NOW - 1000, "1000 s from the future"),
    ],
)
def test_one_of_something_else_is_refused(pool: str, source: str, now: float, reason: str) -> None:
    with pytest.raises(SnapshotError, match=reason):
        SNAPSHOT.check(pool, source, now)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format 2"),
        ({"pool": "other"}, "of two pools"),
        ({"masters": [1]}, "masters"),
        ({"masters": {"cache-0": "nowhere"}}, "nowhere"),
        ({"replicas": {"cache-0": "a:1"}}, "replicas"),
        ({"confirmed_at": None}, "confirmed_at"),
        ({"document": {}}, "no valid pool"),
    ],
)
def test_nonsense_with_a_right_checksum_is_refused(
    changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.loads(SNAPSHOT.to_json())
    monkeypatch.setattr("cachemesh.core.pool.snapshot._checksum", lambda _: body["checksum"])
    with pytest.raises(SnapshotError, match=reason):
        Snapshot.from_json(json.dumps({**body, **changes}))


def later(seconds: float, version: int = 7, masters: Mapping[str, Address] = MASTERS) -> Snapshot:
    """Return the snapshot as it is some seconds later."""
    document = DOCUMENT.replace(version=version)
    topology = SNAPSHOT.topology.with_document(document).with_masters(masters)
    return replace(SNAPSHOT, confirmed_at=NOW + seconds, topology=topology)


def test_what_another_process_knows_better_stays() -> None:
    moved = {"cache-0": Address("10.0.0.9", 6379)}
    assert successor(SNAPSHOT, None) is SNAPSHOT
    assert successor(SNAPSHOT, SNAPSHOT) is None
    assert successor(later(RENEW_SECONDS - 1), SNAPSHOT) is None
    assert successor(later(RENEW_SECONDS), SNAPSHOT) == later(RENEW_SECONDS)
    assert successor(later(-50, version=8), SNAPSHOT) == later(-50, version=8)
    assert successor(later(50, version=6), SNAPSHOT) is None, "it may not have been told yet"
    left = successor(later(RENEW_SECONDS, version=1), SNAPSHOT)
    assert left == later(RENEW_SECONDS, version=1), "a former deployment's does not stay for ever"
    failed_over = successor(later(-50, masters=moved), SNAPSHOT)
    assert failed_over == later(0, masters=moved), "a failover without metaserver; the age is kept"


def test_a_process_that_reads_no_replicas_takes_none_away() -> None:
    without = replace(SNAPSHOT, topology=Topology(DOCUMENT, MASTERS))
    assert successor(without, SNAPSHOT) is None
    promoted = replace(
        without, topology=without.topology.with_masters({"cache-0": Address("10.0.0.2", 6379)})
    )
    stored = successor(promoted, SNAPSHOT)
    assert stored is not None
    assert stored.topology.replicas["cache-0"] == ()
