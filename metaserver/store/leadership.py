"""Part of the contract: which of several processes leads, and which there are.

    run() --the lead is free--> Lead(epoch) --> lead() --lost, stop, or it returns--> run() ...
                                    |
                                    '--> Store.fenced(epoch): refused once a later term began

A term is lost when its process shows no progress for the session timeout, by the monotonic clock of
the others; its process finds that out by its own. Only a fenced store makes sure that nothing is
written late: a process may be paused between any two of its steps.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

SESSION_TIMEOUT = 6.0  # seconds without a sign of the leader, after which another may lead


@dataclass(frozen=True)
class Lead:
    """A term of office of this process.

    Attributes:
        epoch: the number of the term; rises with every term of any process, and never falls.
        lost: set once this process no longer leads.
    """

    epoch: int
    lost: threading.Event


@dataclass(frozen=True)
class Leader:
    """The process that leads.

    Attributes:
        owner: the `process_identity()` of the process.
        epoch: the number of its term.
        since: when the term began, RFC 3339 in UTC.
    """

    owner: str
    epoch: int
    since: str


@dataclass(frozen=True)
class Metaserver:
    """A live process on the store.

    Attributes:
        owner: the `process_identity()` of the process.
        address: where its API is served, "host:port".
        since: when it was registered, RFC 3339 in UTC.
    """

    owner: str
    address: str
    since: str


class Election(Protocol):
    """One process's part in the election of the leader."""

    def run(self, stop: threading.Event, lead: Callable[[Lead], None]) -> None:
        """Take part until `stop` is set, calling `lead` for each term that this process wins.

        Args:
            lead: returns soon after `lost` or `stop` is set. If it returns earlier, the process
                gives the lead away, and takes no part for a session timeout. However it ends,
                `lost` is set afterwards, and a term that was not lost is over for the others at
                once.

        A store that fails meanwhile is no error: nobody can be elected until it works again.
        """

    def leader(self) -> Leader | None:
        """Return the process that leads, or None while none does.

        Raises:
            StorageError: the store cannot be read.
        """


class ElectionStore(Protocol):
    """The processes on one store, and which of them leads."""

    def election(self, owner: str) -> Election:
        """Return the part of the process with this `process_identity()`. It need not run."""

    def register(self, owner: str, address: str) -> None:
        """Add a process to `metaservers`, until it ends; again after a change of its address."""

    def metaservers(self) -> tuple[Metaserver, ...]:
        """Return the registered processes that live, oldest first."""
