"""The feeds of this process: one for each token and pool that a browser watches."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dashboard.feed import PoolFeed
from dashboard.upstream import Upstream


class FeedRegistry:
    """The feeds of one app, by token and pool.

    Args:
        connect: returns the metaserver's API for a token.
    """

    def __init__(self, connect: Callable[[str], Upstream]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._feeds: dict[tuple[str, str], PoolFeed] = {}

    def feed(self, token: str, pool: str) -> PoolFeed:
        """Return the running feed of a pool for a token; start it if there is none."""
        with self._lock:
            self._feeds = {key: each for key, each in self._feeds.items() if each.alive}
            feed = self._feeds.get((token, pool))
            if feed is None:
                feed = PoolFeed(self._connect(token), pool)
                feed.start()
                self._feeds[token, pool] = feed
            return feed

    def forget(self, token: str) -> None:
        """End every feed of a token."""
        with self._lock:
            for key in [key for key in self._feeds if key[0] == token]:
                self._feeds.pop(key).stop()
