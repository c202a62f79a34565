"""The promises of every store about URLs that events of the audit log are posted to.

The sender of a URL reads on from the last event that was taken, whichever process that was.
"""

from __future__ import annotations

from typing import Protocol

from metaserver.domain.audit_log import Event


class WebhookStore(Protocol):
    """Which events were taken; part of the contract of `metaserver.store.contract`."""

    def next_events(self, after: int, *, limit: int) -> list[Event]:
        """Return the oldest `limit` events with an id above `after`, oldest first."""

    def newest_event_id(self) -> int:
        """Return the id of the newest event that was ever logged, 0 if none was.

        It counts also once it is deleted, as all are of a store in which nothing happens for long.
        """

    def webhook_position(self, name: str) -> int | None:
        """Return the id of the last event that was taken, or None."""

    def keep_webhook_position(self, name: str, position: int) -> None:
        """Store the id of the last event that was taken.

        Args:
            name: a digest that tells the URL from others.
        """
