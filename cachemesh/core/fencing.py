"""The fence at an instance: which clients may use it during and after a resize.

The leading metaserver sets the marker, a plain key of database 0, on the shards that lose keys as
long as some client has not acknowledged the resize. Its value is the lowest version of the pool
document that may be acted on. A client first names its connection, then reads the marker, both in
one write: so a connection that has not seen the marker is on the list that the leader kills from.
"""

from __future__ import annotations

from cachemesh.core.connection_names import PREFIX

MARKER = "cachemesh:fence"
"""The key of the marker. Apps must not use it."""


def client_of(name: str) -> str | None:
    """Return the id of the client that a connection's name tells; None if it is no client's."""
    if not name.startswith(PREFIX):
        return None
    return name[len(PREFIX) :].partition(":")[0] or None


def parse_marker(value: object) -> int | None:
    """Return the version in a marker's value; None if there is no marker, or none that is valid.

    Args:
        value: the reply to GET, as bytes or text.
    """
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return int(text)
