"""The backup of a deployment as JSON, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cachemesh.core.errors import InvalidDocumentError
from metaserver.domain.backup import Backup, PoolBackup, TokenBackup
from tests.support.store_records import document

DIGEST = "ab" * 32
BACKUP = Backup(
    "2026-01-02T03:04:05.678Z",
    (PoolBackup(document(), {"a": "10.0.0.1:6379"}), PoolBackup(document("more", "c"), {})),
    (TokenBackup("app", "read", DIGEST),),
)


def test_it_comes_back_as_it_was() -> None:
    assert Backup.from_dict(json.loads(json.dumps(BACKUP.to_dict()))) == BACKUP


def test_no_digest_is_shown() -> None:
    assert DIGEST not in repr(BACKUP)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2: this release reads 1"),
        ({"taken": "yesterday"}, "does not match its checksum"),
        ({"pools": []}, "does not match its checksum"),
        ({"sha256": None}, "does not match its checksum"),
    ],
)
def test_another_or_a_changed_one_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidDocumentError, match=reason):
        Backup.from_dict({**BACKUP.to_dict(), **change})


@pytest.mark.parametrize(
    ("pools", "tokens", "reason"),
    [
        ((PoolBackup(document(), {}),) * 2, (), "a pool twice"),
        ((PoolBackup(document(), {"z": "10.0.0.1:6379"}),), (), "masters of pool 'cache'"),
        ((), (TokenBackup("app", "root", DIGEST),), "role of token 'app'"),  # type: ignore[arg-type]
        ((), (TokenBackup("app", "read", "x"),), "digest of token 'app'"),
    ],
)
def test_nonsense_is_refused(pools: Any, tokens: Any, reason: str) -> None:
    with pytest.raises(InvalidDocumentError, match=reason):
        Backup.from_dict(Backup("now", pools, tokens).to_dict())
