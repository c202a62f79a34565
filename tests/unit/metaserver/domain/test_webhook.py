"""What is posted of an event, how it is signed, and when it is tried again."""

from __future__ import annotations

import json

import pytest

from metaserver.domain.audit_log import Event
from metaserver.domain.webhook import (
    LONGEST_DELAY,
    body_of,
    headers_of,
    retry_delay,
    signature_of,
    skipped_before,
)

EVENT = Event(
    7, "2026-01-02T03:04:05.678Z", "token:ops", "shard.add", "cache", "cache-3", "ü", None, {"a": 1}
)


def test_the_body_is_the_event_and_how_many_are_lacking_before_it() -> None:
    body = body_of(EVENT, 3)
    assert json.loads(body) == {**EVENT.to_dict(), "skipped": 3}
    assert [skipped_before(EVENT, position) for position in (0, 3, 6, 7)] == [6, 3, 0, 0]


def test_it_is_signed_with_its_timestamp() -> None:
    headers = headers_of(7, b"{}", 99, "key")
    assert headers["CacheMesh-Event"] == "7"
    assert headers["CacheMesh-Timestamp"] == "99"
    assert headers["CacheMesh-Signature"] == signature_of(b"{}", 99, "key")
    assert signature_of(b"{}", 99, "key") != signature_of(b"{}", 98, "key")
    assert "CacheMesh-Signature" not in headers_of(7, b"{}", 99, None)


@pytest.mark.parametrize(
    ("failures", "jitter", "delay"),
    [
        (1, 0.0, 0.5),
        (1, 1.0, 1.0),
        (2, 1.0, 2.0),
        (5, 1.0, 16.0),
        (6, 1.0, 30.0),
        (9999, 1.0, 30.0),
    ],
)
def test_attempts_come_less_and_less_often(failures: int, jitter: float, delay: float) -> None:
    assert retry_delay(failures, jitter) == min(delay, LONGEST_DELAY)
