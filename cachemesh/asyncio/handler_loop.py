"""A task's loop that calls the handlers of subscriptions."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from cachemesh.core.planning.subscriptions import Subscriptions, require_handlers


class HandlerLoop:
    """The part of `cachemesh.asyncio.pubsub.PubSub` that calls handlers until cancelled."""

    _wanted: Subscriptions
    get_message: Callable[..., Any]

    async def run(
        self,
        *,
        exception_handler: Callable[[BaseException, Any], Any] | None = None,
        poll_timeout: float = 1.0,
    ) -> None:
        """Call the handlers until cancelled; every subscription must have one.

        Args:
            exception_handler: called with what a handler raised, or waiting for messages, and this
                object; without an exception handler, that ends the loop.
            poll_timeout: seconds to wait for a message at a time.

        Raises:
            redis.PubSubError: a subscription has no handler.
        """
        require_handlers(self._wanted)
        while True:
            try:
                await self.get_message(True, poll_timeout)
            except Exception as error:  # a handler may raise anything; redis-py passes it on
                if exception_handler is None:
                    raise
                done = exception_handler(error, self)
                if inspect.isawaitable(done):
                    await done
            await asyncio.sleep(0)
