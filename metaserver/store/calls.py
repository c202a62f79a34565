"""Part of the contract: calls with an idempotency key, of which each changes something once.

    begin_call --> Store.calling(call): the change --> end_call
                          |
                          '-- marks the call `changed`, in the transaction of the change

A process that dies anywhere leaves a record that says whether the change was made. Another process
then takes the call over, or tells what it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from metaserver.domain.audit_log import Event

CALLS_KEPT = 5_000  # the newest, over all tokens
CALL_AGE = 86_400.0  # seconds for which a call is kept


@dataclass(frozen=True)
class CallId:
    """What names a call.

    Attributes:
        token: the id of the token that it is made with.
        key: the idempotency key that its caller chose.
    """

    token: str
    key: str


@dataclass(frozen=True)
class RecordedCall:
    """A call that was begun.

    Attributes:
        request: a digest of the request; the same key with another request is an error.
        owner: the `process_identity()` of the process that carries the call out.
        changed: whether it has made its change.
        event: what its change has logged, unless that event is gone.
        version: the version of the event's pool after the change.
        status: the HTTP status of its answer; None: it was not answered (yet).
        answer: the body of its answer; None without a status, and where it is not kept.
    """

    request: str
    owner: str
    changed: bool
    event: Event | None
    version: int | None
    status: int | None
    answer: str | None


class CallStore(Protocol):
    """The last calls that had an idempotency key."""

    def begin_call(self, call: CallId, request: str, owner: str) -> RecordedCall | None:
        """Store a call that is about to be carried out, unless there is one of this name.

        Calls beyond CALLS_KEPT, or older than CALL_AGE, are forgotten.

        Returns:
            The call of this name that was there; nothing is changed then. None: there was none.
        """

    def take_call(self, call: CallId, owner: str, previous: str) -> bool:
        """Make `owner` the owner of a call that `previous` has begun, and that changed nothing.

        False: the call is gone, or has another owner, or has changed something.
        """

    def end_call(self, call: CallId, owner: str, status: int, answer: str | None) -> None:
        """Store the answer to a call of this owner; forget the call if it has changed nothing.

        Such a call may be repeated.
        """
