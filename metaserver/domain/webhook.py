"""Events that are posted to a URL: what is sent, how it is signed, when it is tried again."""

from __future__ import annotations

import hashlib
import hmac
import json

from metaserver.domain.audit_log import Event

EVENT_HEADER = "CacheMesh-Event"
TIMESTAMP_HEADER = "CacheMesh-Timestamp"
SIGNATURE_HEADER = "CacheMesh-Signature"

LONGEST_DELAY = 30.0  # seconds
_FIRST_DELAY = 1.0


def body_of(event: Event, skipped: int) -> bytes:
    """Return the body of a POST: the event as docs/api.md shows it, and what is lacking before it.

    Args:
        skipped: how many events before this one the audit log has no more.
    """
    return json.dumps({**event.to_dict(), "skipped": skipped}, separators=(",", ":")).encode()


def headers_of(event_id: int, body: bytes, timestamp: int, secret: str | None) -> dict[str, str]:
    """Return the headers of a POST.

    Args:
        timestamp: seconds since the epoch.
        secret: signs it; None: it is not signed.
    """
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cachemesh-metaserver",
        EVENT_HEADER: str(event_id),
        TIMESTAMP_HEADER: str(timestamp),
    }
    if secret is not None:
        headers[SIGNATURE_HEADER] = signature_of(body, timestamp, secret)
    return headers


def signature_of(body: bytes, timestamp: int, secret: str) -> str:
    """Return the HMAC-SHA256 of the timestamp, a point and the body."""
    signed = f"{timestamp}.".encode() + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def skipped_before(event: Event, position: int) -> int:
    """Return how many events are lacking between the last one that was taken and this one."""
    return max(0, event.id - position - 1)


def retry_delay(failures: int, jitter: float) -> float:
    """Return the seconds until the next attempt.

    Args:
        failures: in a row so far, 1 or more.
        jitter: from 0 to 1.
    """
    delay = min(LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(failures - 1, 10))
    return delay * (0.5 + jitter / 2)
