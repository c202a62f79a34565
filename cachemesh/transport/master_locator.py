"""What the transports need to know of where masters are."""

from __future__ import annotations

from typing import Protocol

from cachemesh.core.names import Address


class Locator(Protocol):
    """Who knows where masters are: `cachemesh.discovery.follower.Follower`."""

    def look_again(
        self, shard: str, seen: Address | None, seconds: float | None = None
    ) -> Address | None:
        """Ask Sentinel anew, because ``seen`` did not serve; the master now known.

        Args:
            seconds: how long to wait for the answer; None: until it is there.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """

    def how_to_look(self, shard: str) -> str:
        """What the person who reads an error about a shard can do, as the end of a sentence."""

    def suggest(self, shard: str, seen: Address, master: Address) -> None:
        """``seen`` says that it is a replica of ``master``, which says that it is a master."""

    def wait_for_change(self, shard: str, seen: Address | None, seconds: float) -> Address | None:
        """Wait until the master known is not ``seen``; the one now known."""
