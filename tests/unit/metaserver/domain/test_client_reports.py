"""Who counts as having acknowledged a version, when reports do not name every client."""

from __future__ import annotations

from metaserver.domain.client_reports import ClientReport, KnownClient, acknowledged_ids

NAMED = (KnownClient("t", "late", 3), KnownClient("t", "prompt", 5))


def test_only_a_named_client_has_acknowledged_where_all_are_named() -> None:
    ids = acknowledged_ids([ClientReport(NAMED)], 5)
    assert "prompt" in ids
    assert "late" not in ids
    assert "of nobody's knowledge" not in ids


def test_a_late_client_stays_late_where_some_are_not_named() -> None:
    ids = acknowledged_ids([ClientReport(NAMED, others={5: 2})], 5)
    assert "one of the two" in ids
    assert "late" not in ids
