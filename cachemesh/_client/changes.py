"""Which commands lead from one set of subscriptions to another."""

from __future__ import annotations

from collections.abc import Iterator

from cachemesh.core.planning.subscriptions import KINDS, SUBSCRIBE, UNSUBSCRIBE, Subscriptions


def changes(has: Subscriptions, wanted: Subscriptions) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the commands, each as the name of redis-py's method and the names it is given.

    Names stand without their handlers, which redis-py would call as messages come.

    Args:
        has: what is subscribed to.
        wanted: what is to be.
    """
    for kind in KINDS:
        if new := wanted.missing_from(has, kind):
            yield SUBSCRIBE[kind], list(new)
        if gone := has.missing_from(wanted, kind):
            yield UNSUBSCRIBE[kind], list(gone)
