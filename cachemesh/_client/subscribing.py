"""What the listeners and mailboxes of both clients are made of, with no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from cachemesh.core.planning.subscriptions import KINDS, SUBSCRIBE, UNSUBSCRIBE, Subscriptions
from cachemesh.transport.shard_base import S


class ListenerBase(Generic[S]):
    """What is subscribed to on one shard, over one connection of redis-py's.

    Args:
        shard: what to listen to.
        mailbox: where messages go.

    Attributes:
        has: what is subscribed to.
        shard: as given.
        inner: redis-py's object with the connection; None without one.
    """

    def __init__(self, shard: S, mailbox: Any) -> None:
        self.has = Subscriptions()
        self.shard = shard
        self.inner: Any = None
        self._mailbox = mailbox
        self._master = shard.master  # that ``inner`` is connected to

    @property
    def connection(self) -> Any:
        """redis-py's connection, None without one."""
        return self.inner and self.inner.connection


L = TypeVar("L", bound=ListenerBase[Any])


class MailboxBase(Generic[L]):
    """Messages that were heard and that nobody has asked for yet.

    Args:
        listeners: those that put messages here, by the names of their shards; they may change.
    """

    def __init__(self, listeners: Mapping[str, L]) -> None:
        self._listeners = listeners
        self._messages: deque[dict[str, Any]] = deque()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: dict[str, Any]) -> None:
        """Add a message behind the others."""
        self._messages.append(message)

    def clear(self) -> None:
        """Forget all messages."""
        self._messages.clear()


def changes(has: Subscriptions, wanted: Subscriptions) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the commands that lead from ``has`` to ``wanted``.

    Each is the name of redis-py's method and the names it takes. Handlers are left out: redis-py
    would call them as messages come.
    """
    for kind in KINDS:
        if new := wanted.missing_from(has, kind):
            yield SUBSCRIBE[kind], list(new)
        if gone := has.missing_from(wanted, kind):
            yield UNSUBSCRIBE[kind], list(gone)
