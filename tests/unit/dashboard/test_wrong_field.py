"""Which field of a form the metaserver's problem is about."""

from __future__ import annotations

import pytest

from dashboard.changes import wrong_field
from dashboard.upstream import OperatorProblem


@pytest.mark.parametrize(
    ("code", "detail", "field"),
    [
        ("bad-request", 'name: "cache 9" is not valid: 1 to 64 characters', "name"),
        ("bad-request", 'master: "nowhere" is not valid: host:port', "master"),
        ("bad-request", "weight: 0 is out of range: from 1 to 1000", "weight"),
        ("shard-exists", "Pool 'cache' already has a shard 'cache-0'", "name"),
        ("instance-rejected", "127.0.0.1:1 cannot be reached: Connection refused", "master"),
        ("version-conflict", "Pool 'cache' is at version 4, not 3", ""),
        ("bad-request", "strategy: no such one", ""),
    ],
)
def test_wrong_field(code: str, detail: str, field: str) -> None:
    assert wrong_field(OperatorProblem("Title", detail, code=code)) == field
