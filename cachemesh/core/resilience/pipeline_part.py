"""A pipeline's part for one shard, as far as sending its leftovers again goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from cachemesh.core.errors import ShardUnavailableError
from cachemesh.core.rerouting import ShardRetiredError

PartOutcome = list[Any] | Exception
"""The replies of a part, error replies among them; or one of `NOT_SERVED` if none came."""

PartResult = list[Any] | ShardUnavailableError
"""The replies of a part in the end, error replies among them; or why the shard gave none."""

RoutedPartResult = PartResult | ShardRetiredError
"""The same, or that nothing has run and the part has to be routed anew."""


class PipelinePart(Protocol):
    """As `cachemesh.core.planning.pipeline_parts.Part`."""

    @property
    def commands(self) -> Sequence[Any]:
        """The commands, in order."""

    def undone(self, replies: Sequence[Any]) -> Sequence[int]:
        """Return the places of the commands that have not run and are to be sent again."""

    def only(self, places: Sequence[int]) -> PipelinePart:
        """Return a part of some of the commands."""


def unserved(replies: list[Any], places: Sequence[int], why: ShardUnavailableError) -> PartResult:
    """Return the outcome of a part whose shard has ceased to serve.

    Args:
        replies: those that came, error replies among them; empty if none did.
        places: of the commands that have not run, as of `PipelinePart.undone`.
        why: the shard has ceased to serve.

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
    """Return whether there is an error reply among the replies."""
    return any(issubclass(kind, Exception) for kind in set(map(type, replies)))
