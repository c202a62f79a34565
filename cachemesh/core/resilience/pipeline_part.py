"""What a transport needs to know of a pipeline's part for one shard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cachemesh.core.errors import ShardUnavailableError

Outcome = list[Any] | Exception
"""The replies, error replies among them, or one of `NOT_SERVED`."""


class Part(Protocol):
    """What one shard gets of a pipeline: `cachemesh.core.planning.pipeline_parts.Part`."""

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


def unserved(
    replies: list[Any], places: Sequence[int], why: ShardUnavailableError
) -> list[Any] | ShardUnavailableError:
    """What a part comes to when its shard has ceased to serve.

    Args:
        replies: those that came, error replies among them; empty if none did.
        places: of the commands that have not run, as of `Part.undone`.

    Returns:
        The replies, with ``why`` for commands that the shard has refused; ``why`` alone if no
        command has run.
    """
    if len(places) == len(replies) or not replies:
        return why
    for place in places:
        if isinstance(replies[place], Exception):
            replies[place] = why
    return replies


def holds_error(replies: Sequence[Any]) -> bool:
    """Whether there is an error reply among them."""
    return any(issubclass(kind, Exception) for kind in set(map(type, replies)))
