"""What a transport needs to know of a pipeline's part for one shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

Outcome = list[Any] | Exception
"""The replies, error replies among them, or one of `NOT_SERVED`."""


class Part(Protocol):
    """What one shard gets of a pipeline: `cachemesh.pipelining.Part`."""

    @property
    def commands(self) -> Sequence[Any]:
        """The commands."""

    @property
    def decode(self) -> Sequence[bool]:
        """For each reply whether to decode it."""

    @property
    def repeatable(self) -> bool:
        """Whether it may run twice."""

    def payload(self) -> bytes:
        """The commands packed."""

    def undone(self, replies: Sequence[Any]) -> Sequence[int]:
        """Places of the commands that have not run and are to be sent again."""

    def only(self, places: Sequence[int]) -> Part:
        """Some of the commands."""


def holds_error(replies: Sequence[Any]) -> bool:
    """Whether there is an error reply among them."""
    return any(issubclass(kind, Exception) for kind in set(map(type, replies)))
