"""The check of a fence, in the handshake of a connection; see `cachemesh.core.fencing`."""

from __future__ import annotations

from typing import Any, Protocol

from cachemesh.core.fencing import MARKER


class VersionedClient(Protocol):
    """What is known of the pool's version: `cachemesh.discovery.membership.Membership`."""

    @property
    def acting_version(self) -> int | None:
        """The version that the client acts on; None if no metaserver knows the client."""

    def fetch(self, version: int) -> None:
        """Ask the metaservers at once for this version or a later one, and apply it."""


def marker_question(connection: Any, custom: bool) -> list[tuple[str, ...]]:
    """Return the commands that read the marker, which is in database 0.

    Args:
        connection: of redis-py, after its handshake.
        custom: the app has its own handshake, which may have selected any database.
    """
    database = getattr(connection, "db", None) or 0
    question = ("GET", MARKER)
    if custom or not database:
        return [question]
    return [("SELECT", "0"), question, ("SELECT", str(database))]
