"""A thread that calls the handlers of subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis.client import PubSubWorkerThread

from cachemesh.core.planning.subscriptions import Subscriptions, require_handlers


class HandlerLoop:
    """The part of `cachemesh.sync.pubsub.PubSub` that calls handlers in a thread of their own."""

    _wanted: Subscriptions

    def run_in_thread(
        self,
        sleep_time: float = 0.0,
        daemon: bool = False,
        exception_handler: Callable[[BaseException, Any, Any], None] | None = None,
    ) -> PubSubWorkerThread:
        """Start a thread that calls the handlers; every subscription must have one.

        Args:
            sleep_time: seconds to wait for a message at a time.
            daemon: whether the process may end before the thread.
            exception_handler: called with what a handler raised, this object and the thread.

        Raises:
            redis.PubSubError: a subscription has no handler.
        """
        require_handlers(self._wanted)
        make: Any = PubSubWorkerThread  # untyped in redis-py
        thread: PubSubWorkerThread = make(
            self, sleep_time, daemon=daemon, exception_handler=exception_handler
        )
        thread.start()
        return thread
