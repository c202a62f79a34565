"""The names of connections: the client's id, and after it the name that the app has given.

    cachemesh:0123456789ab        no name of the app's own
    cachemesh:0123456789ab:shop   the app's: shop

By its name a metaserver knows, in CLIENT LIST, whose a connection is. The app sees its own part
alone, as if there were no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

PREFIX = "cachemesh:"
NAMED_BY = ("CLIENT GETNAME", "CLIENT INFO", "CLIENT LIST")
"""The commands whose replies hold names of connections."""


def full_name(client_id: str, own: object = None) -> str:
    """Return the whole name of a connection.

    Args:
        client_id: by which metaservers know the client.
        own: the app's part, as text, bytes or a number; None or empty for none. If that is a whole
            name already, it is returned as it is.
    """
    text = own.decode("utf-8", "replace") if isinstance(own, bytes) else str(own or "")
    start = f"{PREFIX}{client_id}"
    if not text or text == start or text.startswith(f"{start}:"):
        return text or start
    return f"{start}:{text}"


def own_name(client_id: str | None, name: str | None) -> str | None:
    """Return the app's part of a connection's name; a name that is not this client's as it is.

    Args:
        client_id: None if connections carry none.
        name: as the server tells it; None or empty for none.
    """
    start = f"{PREFIX}{client_id}"
    if client_id is None or not name or (name != start and not name.startswith(f"{start}:")):
        return name
    return name[len(start) + 1 :]


def showing_own_names(
    command: str, callback: Callable[..., Any], client_id: Callable[[], str | None]
) -> Callable[..., Any]:
    """Return a callback of redis-py which shows names of connections as the app has given them.

    Args:
        command: one of `NAMED_BY`.
        callback: redis-py's own.
        client_id: returns the client's id of now; None if connections carry none.
    """

    def shown(reply: Any, **options: Any) -> Any:
        result = callback(reply, **options)
        return _shown(result, client_id())

    def name(reply: Any, **options: Any) -> Any:
        result = callback(reply, **options)
        return own_name(client_id(), result) or None if isinstance(result, str) else result

    return name if command == "CLIENT GETNAME" else shown


def _shown(result: Any, client_id: str | None) -> Any:
    if isinstance(result, list):
        return [_shown(each, client_id) for each in result]
    if isinstance(result, Mapping) and isinstance(result.get("name"), str):
        return {**result, "name": own_name(client_id, result["name"])}
    return result
