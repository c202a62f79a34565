"""What a pub/sub object subscribes to, and on which shard. No I/O.

channels        on the shard that owns the channel's name, where PUBLISH sends messages
patterns        on every shard
shard channels  on the shard that owns the channel's name (SSUBSCRIBE)
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
"""Types of messages that only confirm a change of a subscription."""

_HANDLED = {
    "message": ("channels", "channel"),
    "pmessage": ("patterns", "pattern"),
    "smessage": ("shard_channels", "channel"),
}
"""Type of a message -> kind of its subscription, and the field of the message with its name."""

CONFIRM_SECONDS = 5.0
"""Seconds that a server may take to confirm a subscription."""

TOPOLOGY_CHECK_SECONDS = 1.0
"""Seconds between checks of the topology while waiting for messages."""


def require_message(response: Any) -> Any:
    """Return a reply on a subscribed connection, if the reply has the form of a message.

    Args:
        response: as parsed.

    Raises:
        redis.InvalidResponse: the reply has another form.
    """
    if isinstance(response, list):
        fits = len(response) > 1 and (len(response) > 2 or response[0] in (b"pong", "pong"))
    else:
        fits = response is None or isinstance(response, bytes)  # bytes: the reply to PING
    if not fits:
        raise InvalidResponse("What came is no message; is something else than Redis listening?")
    return response


@dataclass
class Subscriptions:
    """Names that are subscribed to, each with its message handler or None."""

    channels: HandlersByName = field(default_factory=dict)
    patterns: HandlersByName = field(default_factory=dict)
    shard_channels: HandlersByName = field(default_factory=dict)

    def add(
        self, kind: str, names: Iterable[Any], handlers: Mapping[str, Handler], encode: Encode
    ) -> HandlersByName:
        """Add names, given in one of redis-py's ways.

        Args:
            kind: one of `KINDS`.
            names: one after the other, as a list, or as ``Subscription`` objects with a handler.
            handlers: name -> handler.
            encode: returns a name as bytes.

        Returns:
            The names that were added, with their handlers.

        Raises:
            InvalidKeyError: a name is not a string.
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
        """Remove some names, or all of a kind.

        Args:
            kind: one of `KINDS`.
            names: as for `add`; empty removes all.
            encode: returns a name as bytes.

        Returns:
            The names that were removed.

        Raises:
            InvalidKeyError: a name is not a string.
        """
        known: HandlersByName = getattr(self, kind)
        wanted = [encode(name) for name in _listed(names)] or list(known)
        return [name for name in wanted if known.pop(name, self) is not self]

    def handler_of(
        self, message: Mapping[str, Any], encode: Callable[[Any], bytes]
    ) -> Handler | None:
        """Return the handler of a message, or None if the message goes to the caller.

        Args:
            message: as redis-py returns it.
            encode: returns a name as bytes, as it was sent to the server.
        """
        kind, part = _HANDLED.get(message["type"], ("", ""))
        return getattr(self, kind).get(encode(message[part])) if kind else None

    def __bool__(self) -> bool:
        return bool(self.channels or self.patterns or self.shard_channels)

    def __len__(self) -> int:
        return len(self.channels) + len(self.patterns)

    def on_shard(self, shard: str, placement: Placement) -> Subscriptions:
        """Return the subscriptions that belong on one shard.

        Args:
            shard: name of the shard.
            placement: decides which shard owns which channel.
        """
        return Subscriptions(
            {n: h for n, h in self.channels.items() if shard in placement.channel_owners(n)},
            dict(self.patterns),
            {n: h for n, h in self.shard_channels.items() if shard in placement.channel_owners(n)},
        )

    def missing_from(self, other: Subscriptions, kind: str) -> HandlersByName:
        """Return the names of a kind that ``other`` lacks, with their handlers.

        Args:
            other: the subscriptions to compare with.
            kind: one of `KINDS`.
        """
        theirs = getattr(other, kind)
        return {n: h for n, h in getattr(self, kind).items() if n not in theirs}


def _listed(names: Iterable[Any]) -> list[Any]:
    given = list(names)
    return list(list_or_args(given[0], given[1:])) if given else []


def require_handlers(subscriptions: Subscriptions) -> None:
    """Refuse subscriptions in which a name has no handler.

    Args:
        subscriptions: the subscriptions to check.

    Raises:
        redis.PubSubError: a name has no handler.
    """
    for kind in KINDS:
        for name, handler in getattr(subscriptions, kind).items():
            if handler is None:
                raise PubSubError(f"{kind}: {name!r} has no handler registered")
