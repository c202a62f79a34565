"""The locator of masters, as far as the transports need one."""

from __future__ import annotations

from typing import Protocol

from cachemesh.core.names import Address


class MasterLocator(Protocol):
    """Knows where masters are: `cachemesh.discovery.membership.Membership`."""

    def look_up_master(
        self, shard: str, seen: Address | None, timeout: float | None = None
    ) -> Address | None:
        """Ask Sentinel again, because the master ``seen`` did not serve.

        Args:
            shard: its name.
            seen: the master that did not serve; None if no master was known.
            timeout: seconds to wait for the answer; None waits until there is one.

        Returns:
            The master that is known now.

        Raises:
            SentinelUnavailableError: no Sentinel answers.
        """

    def advice(self, shard: str) -> str:
        """Return the end of an error message about a shard: how to look what is wrong."""

    def report_master(self, shard: str, seen: Address, master: Address) -> None:
        """Make ``master`` the shard's master: its replica ``seen`` named it, and ROLE says so."""

    def wait_for_master(self, shard: str, seen: Address | None, timeout: float) -> Address | None:
        """Wait until another master than ``seen`` is known, or ``timeout`` seconds.

        Returns:
            The master that is known now.
        """
