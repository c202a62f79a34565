"""What a pub/sub object listens to, and on which shard. No I/O.

channels        on the shard that their name hashes to, where PUBLISH sends them
patterns        on every shard
shard channels  on the shard that their name hashes to (SSUBSCRIBE)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.commands.helpers import list_or_args
from redis.exceptions import InvalidResponse, PubSubError

from cachemesh.core.placement import Placement
from cachemesh.core.planning.split import Encode

Handler = Callable[[dict[str, Any]], Any]
HandlersByName = dict[bytes, "Handler | None"]
KINDS = ("channels", "patterns", "shard_channels")
SUBSCRIBE = {"channels": "subscribe", "patterns": "psubscribe", "shard_channels": "ssubscribe"}
UNSUBSCRIBE = {
    "channels": "unsubscribe",
    "patterns": "punsubscribe",
    "shard_channels": "sunsubscribe",
}
CONFIRMATIONS = frozenset({*SUBSCRIBE.values(), *UNSUBSCRIBE.values()})
"""Types of messages that only say that a subscription has changed."""

_HANDLED = {
    "message": ("channels", "channel"),
    "pmessage": ("patterns", "pattern"),
    "smessage": ("shard_channels", "channel"),
}
"""Type of a message -> whose handler it is for, and by which of its parts."""

CONFIRM_SECONDS = 5.0
"""How long a server may take to confirm a subscription."""

TOPOLOGY_CHECK_SECONDS = 1.0
"""Seconds between looks at the topology while waiting for messages."""


def require_message(response: Any) -> Any:
    """What came over a subscribed connection, if it is of the form Redis gives.

    Raises:
        redis.InvalidResponse: it is not.
    """
    if isinstance(response, list):
        fits = len(response) > 1 and (len(response) > 2 or response[0] in (b"pong", "pong"))
    else:
        fits = response is None or isinstance(response, bytes)  # a pong
    if not fits:
        raise InvalidResponse("What came is no message; is something else than Redis listening?")
    return response


@dataclass
class Subscriptions:
    """Names subscribed to, each with its message handler or None."""

    channels: HandlersByName = field(default_factory=dict)
    patterns: HandlersByName = field(default_factory=dict)
    shard_channels: HandlersByName = field(default_factory=dict)

    def add(
        self, kind: str, names: Iterable[Any], handlers: Mapping[str, Handler], encode: Encode
    ) -> HandlersByName:
        """Remember names given as redis-py takes them: one after the other or as a list, with a
        handler by keyword or as a ``Subscription``.

        Args:
            encode: a name as bytes.

        Raises:
            InvalidKeyError: a name that is no string.
        """
        given: HandlersByName = {}
        for item in _listed(names):
            if hasattr(item, "handler"):  # a Subscription, from redis-py 8 on
                given[encode(item.name)] = item.handler
            else:
                given[encode(item)] = None
        given.update({encode(name): handler for name, handler in handlers.items()})
        getattr(self, kind).update(given)
        return given

    def remove(self, kind: str, names: Iterable[Any], encode: Encode) -> list[bytes]:
        """Forget some names, or all of a kind; those that were there. Else as `add`."""
        known: HandlersByName = getattr(self, kind)
        wanted = [encode(name) for name in _listed(names)] or list(known)
        return [name for name in wanted if known.pop(name, self) is not self]

    def handler_of(
        self, message: Mapping[str, Any], encode: Callable[[Any], bytes]
    ) -> Handler | None:
        """The handler that a message is for, None if it is for whoever asks for messages.

        Args:
            message: as redis-py gives it.
            encode: a name as bytes, as it went to the server.
        """
        kind, part = _HANDLED.get(message["type"], ("", ""))
        return getattr(self, kind).get(encode(message[part])) if kind else None

    def __bool__(self) -> bool:
        return bool(self.channels or self.patterns or self.shard_channels)

    def __len__(self) -> int:
        return len(self.channels) + len(self.patterns)

    def on_shard(self, shard: str, placement: Placement) -> Subscriptions:
        """What is listened to on one shard."""
        return Subscriptions(
            {n: h for n, h in self.channels.items() if placement.owner(n) == shard},
            dict(self.patterns),
            {n: h for n, h in self.shard_channels.items() if placement.owner(n) == shard},
        )

    def missing_from(self, other: Subscriptions, kind: str) -> HandlersByName:
        """Names of a kind that ``other`` does not have."""
        theirs = getattr(other, kind)
        return {n: h for n, h in getattr(self, kind).items() if n not in theirs}


def _listed(names: Iterable[Any]) -> list[Any]:
    given = list(names)
    return list(list_or_args(given[0], given[1:])) if given else []


def require_handlers(subscriptions: Subscriptions) -> None:
    """Refuse to go on without a handler for each name.

    Raises:
        redis.PubSubError: a name has none.
    """
    for kind in KINDS:
        for name, handler in getattr(subscriptions, kind).items():
            if handler is None:
                raise PubSubError(f"{kind}: {name!r} has no handler registered")
