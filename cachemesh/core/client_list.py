"""The reply to CLIENT LIST: a line for each connection of an instance.

    id=3 addr=10.0.0.9:1 laddr=10.0.0.1:6379 fd=8 name= age=0 flags=N cmd=get user=default resp=2

Source: https://redis.io/docs/latest/commands/client-list/.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_DIGITS = 20  # of an id, at most


@dataclass(frozen=True, slots=True)
class ListedConnection:
    """A connection as CLIENT LIST has it.

    Attributes:
        id: by which it can be ended.
        line: all of its fields.
    """

    id: int
    line: bytes

    def field(self, name: bytes) -> bytes:
        """Return the value of a field; b"" without one."""
        _, found, rest = (b" " + self.line).partition(b" " + name + b"=")
        return rest.partition(b" ")[0] if found else b""


def listed_connections(listed: bytes) -> Iterator[ListedConnection]:
    """Yield the connections that a reply to CLIENT LIST names; lines without an id are left out.

    Args:
        listed: the reply. RESP3 has its kind of text before it, which some readers leave there.
    """
    for line in listed.removeprefix(b"txt:").split(b"\n"):
        number = ListedConnection(0, line).field(b"id")
        if number.isdigit() and len(number) <= _DIGITS:
            yield ListedConnection(int(number), line)
