"""Why a command is routed anew in a resize. No app sees any of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Pair: TypeAlias = "tuple[str, str]"
"""The shard that a key moves from, and the one that it moves to."""

ANEW: Any = object()
"""In place of the reply to a command: it is to be routed anew."""


class RerouteError(Exception):
    """A command was not sent where it would have gone, and is to be routed anew. No app sees it."""


class KeyHeldError(RerouteError):
    """The key is about to move: no command on it is sent before the next pool document."""

    def __init__(self) -> None:
        super().__init__("the key is about to move to another shard")


class KeyMovingError(RerouteError):
    """The source may still have keys of the command: they are to be pulled first.

    Attributes:
        keys: of each pair of shards.
        stage: what the placement was given, which tells the keys that are settled.
    """

    def __init__(self, keys: Mapping[Pair, Sequence[bytes]], stage: Any = None) -> None:
        super().__init__("a key is on its way to another shard")
        self.keys = keys
        self.stage = stage


class ShardRetiredError(RerouteError):
    """The command was routed before a resize began; it has not run, or may run again."""

    def __init__(self) -> None:
        super().__init__("the command was routed by a placement from before a resize")


class PartlyRetiredError(RerouteError):
    """Of a command's sub-requests some were routed before a resize began.

    Attributes:
        replies: one for each sub-request; `ShardRetiredError` for each of those.
    """

    def __init__(self, replies: list[Any]) -> None:
        super().__init__("sub-requests were routed by a placement from before a resize")
        self.replies = replies
