"""The promises that every store of the metaserver makes.

A store keeps pool documents; the intents, sweeps, failovers and work under way; the last known
masters; the versions that clients act on; the audit log and what it has reported; tokens; and
which process leads. One `Store` object is used by one process, from any thread or greenlet; several
processes may each open a store on the same data. The values are those of `metaserver.domain`.

Promises for every method:

* Atomic and durable: a method's writes happen together or not at all, and survive kill -9.
* After `StorageFullError` (no room) or `StorageError` (anything else) nothing is changed; after
  `UnsureError` alone the write may have happened, as a whole. A later read tells.
* A return of None or False means that nothing is changed either; each docstring says when.
* No method waits for anything but the store itself, and for that a few seconds at most.
* A write decides on the data as of then. A read sees all earlier writes through the same store;
  those through others it sees soon, and in their order.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import Event, EventFilter, NewEvent
from metaserver.domain.pool_state import (
    Failover,
    Intent,
    NewFailover,
    NewIntent,
    NewSweep,
    PoolState,
    ReportedState,
    Sweep,
    SweepState,
)
from metaserver.store.calls import CallId, CallStore
from metaserver.store.leadership import ElectionStore
from metaserver.store.webhooks import WebhookStore

Role: TypeAlias = Literal["read", "admin"]


@dataclass(frozen=True)
class Token:
    """A bearer token without its text, which no store keeps. Times are RFC 3339 in UTC.

    Attributes:
        pools: the only pools that the token is good for; None: all, and the metaserver itself.
        expires: from when on the token is good for nothing; None: never.
    """

    id: str
    name: str
    role: Role
    created: str
    last_used: str | None
    pools: tuple[str, ...] | None = None
    expires: str | None = None

    def covers(self, pool: str | None) -> bool:
        """Return whether the token is good for this pool; None: for what belongs to no pool."""
        return self.pools is None or pool in self.pools

    @property
    def lasting_admin(self) -> bool:
        """Whether the token may do everything, for ever; one such token always stays."""
        return self.role == "admin" and self.pools is None and self.expires is None


class DocumentStore(Protocol):
    """Pool documents, and the audit log that is written together with them."""

    def document(self, pool: str) -> PoolDocument | None:
        """Return the pool's document, or None if there is no such pool.

        Raises:
            DamagedPoolError: what is kept of the pool was changed by hand and cannot be read.
        """

    def documents(self) -> tuple[PoolDocument, ...]:
        """Return the document of every pool, in order of the pool names."""

    def damaged_pools(self) -> Mapping[str, str]:
        """Return pools that were changed by hand and cannot be read, with an error for each."""

    def versions(self) -> Mapping[str, int]:
        """Return the version of every existing pool; cheap enough for each watch call."""

    def state(self, pool: str) -> PoolState | None:
        """Return one consistent read of the pool, or None if there is no such pool."""

    def next_version(self, pool: str) -> int:
        """Return the version that a creation or change of this pool would get now."""

    def create_document(
        self,
        document: PoolDocument,
        event: NewEvent,
        *,
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
    ) -> PoolDocument | None:
        """Store a new pool, log the event, store the masters, begin the work `joining` of each
        shard, and delete the intents, in one transaction.

        Args:
            masters: shard -> address of its master.
            intents: ids of the intents that this creation completes.

        Returns:
            The document with its version, which is `document.version` or more, and above every
            version that a pool of this name ever had. None: the pool exists, or an intent is gone
            or being undone.
        """

    def put_document(
        self,
        document: PoolDocument,
        expected_version: int,
        event: NewEvent,
        *,
        sweeps: Sequence[NewSweep] = (),
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
        joining: Collection[str] = (),
        carried: Collection[int] = (),
    ) -> PoolDocument | None:
        """Replace a pool's document, if its version still is `expected_version`.

        In the same transaction: log the event, add the sweeps at the new version (each replaces
        the sweep that its shard already has), store the masters, begin the work `joining` of each
        new shard, delete the work of shards that leave, and delete the intents.

        Args:
            masters, intents: as in `create_document`.
            joining: shards that a resize is about to add, which join already.
            carried: ids of intents that stay until the resize which the document begins is over.

        Returns:
            The document with its new version, which is above `expected_version`, and
            `document.version` or more. None: the pool is gone or at another version, an intent is
            gone or being undone, or a shard that leaves has a failover under way.
        """

    def delete_document(
        self,
        pool: str,
        expected_version: int,
        event: NewEvent,
        *,
        intents: Sequence[NewIntent] = (),
    ) -> tuple[Intent, ...] | None:
        """Delete a pool, if its version still is `expected_version`.

        In the same transaction: log the event, delete the pool's sweeps, masters, work and what
        was reported of it, set every open intent of the pool `undoing`, and add `intents`.

        Args:
            intents: "delete" intents of the shards that the Sentinels still have to forget.

        Returns:
            The added intents. None: the pool is gone or at another version, or has a failover
            under way.
        """

    def record_event(self, event: NewEvent) -> Event:
        """Append an event to the audit log."""

    def events(
        self,
        pool: str | None = None,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 100,
        only: EventFilter | None = None,
    ) -> list[Event]:
        """Return the newest `limit` events with an id above `after`, newest first.

        Args:
            before: above all ids that are asked for; None: there is no such bound.
        """

    def change_marker(self) -> Hashable:
        """Return a value that differs after every change, by whichever process.

        Cheap enough to be called several times a second.
        """


class ProgressStore(Protocol):
    """What is under way on instances and Sentinels: sweeps, intents, failovers, known masters."""

    def sweeps(self, pool: str | None = None) -> tuple[Sweep, ...]:
        """Return the unfinished sweeps of one pool (None: of all), oldest first."""

    def update_sweep(
        self,
        sweep_id: int,
        *,
        state: SweepState | None = None,
        removed: int | None = None,
        detail: str | None = None,
    ) -> bool:
        """Store the progress of a sweep; None keeps a field.

        False: the sweep is gone, as it was finished or replaced or its pool was deleted. Its
        worker has to stop.
        """

    def finish_sweep(self, sweep_id: int, event: NewEvent) -> bool:
        """Delete the sweep, and the last known master if the shard is drained, and log the event.

        False: the sweep is gone already, and nothing was logged.
        """

    def add_intent(self, intent: NewIntent) -> Intent | None:
        """Store an intent.

        None: an unfinished intent has the same shard name or the same master (unless that is "",
        unknown), or the shard has a failover under way.
        """

    def intents(self) -> tuple[Intent, ...]:
        """Return every unfinished intent, oldest first."""

    def claim_intent(self, intent_id: int) -> bool:
        """Set `undoing` of an intent, so that its document change can no longer happen.

        True also if `undoing` was set before. False: the intent is gone, as its change happened, or
        a resize that is under way completes it.
        """

    def finish_intent(self, intent_id: int, event: NewEvent | None = None) -> bool:
        """Delete the intent, and log the event if one is given.

        False: the intent is gone already, and nothing was logged.
        """

    def begin_failover(self, failover: NewFailover, *, within: float = 30.0) -> Failover | None:
        """Store a failover, without saved settings yet, and its work for `within` seconds.

        None: the shard already has a failover or an unfinished intent, or is not in the pool.
        """

    def failovers(self) -> tuple[Failover, ...]:
        """Return every failover under way, oldest first."""

    def update_failover(
        self,
        failover_id: int,
        *,
        saved_settings: Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> bool:
        """Replace the saved settings or the owner; None keeps them. False: the failover is gone."""

    def end_failover(self, failover_id: int, event: NewEvent, *, master: str) -> bool:
        """Delete the failover, log the event, and store the master ("host:port").

        The failover's work is deleted too if the master is the one from before. With another
        master the replicas still have to follow, and `end_work` ends the work later.
        False: the failover is gone already, and nothing was logged.
        """

    def remember_master(self, pool: str, shard: str, address: str) -> None:
        """Store the last known master ("host:port") of a shard; nothing without the pool."""

    def last_master(self, pool: str, shard: str) -> str | None:
        """Return the last known master of a shard, or None."""

    def last_masters(self) -> Mapping[tuple[str, str], str]:
        """Return the last known master of every (pool, shard)."""

    def publish_acks(self, owner: str, acks: Mapping[str, Any]) -> None:
        """Replace what a process has published about its clients, for the other processes.

        Args:
            owner: the `process_identity()` of the process.
            acks: an object of JSON. `metaserver.domain.client_reports` bounds it: some 300 KB at
                most (5,000 clients are named, 500 of them with details; of further ones the
                number is given), written at each change and every 10 s.
        """

    def acks(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what every process last published, by owner; also of processes that have died."""

    def forget_acks(self, owner: str) -> None:
        """Delete what a process has published."""

    def publish_quality(
        self, owner: str, quality: Mapping[str, Any], *, alive: Collection[str]
    ) -> None:
        """Replace what a process has published of what its clients feel, for the other processes.

        Args:
            owner: the `process_identity()` of the process.
            quality: an object of JSON. `metaserver.watch.quality_board` bounds it: some 300 KB at
                most (500 shards, 100 clients), written every 5 s while there is something new.
            alive: the other processes that live; what any further one has published is deleted.
        """

    def published_quality(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what every process last published of that, by owner."""


class ObservedStore(Protocol):
    """What the process that observes the pools writes."""

    def end_work(self, work_id: int) -> None:
        """Delete the work, if it is still there."""

    def reported_state(self, pool: str) -> ReportedState | None:
        """Return what was last reported of the pool; None if nothing was yet."""

    def report(self, pool: str, state: ReportedState, events: Sequence[NewEvent]) -> None:
        """Log the events, and store what they have reported, in one transaction.

        Without the pool nothing happens. What was reported of a pool is deleted with the pool.
        """

    def publish_progress(self, pool: str, progress: Mapping[str, Any]) -> None:
        """Replace what is told of the move of a pool's keys; nothing without the pool.

        Args:
            progress: an object of JSON, some 10 KB at most, written each second while keys move.
        """

    def prune_events(self, *, keep: int, since: str, at_most: int = 10_000) -> int:
        """Delete the oldest events, and return how many were deleted.

        No more than the newest `keep` stay, and none older than the first one that was logged at
        or after `since` (RFC 3339 in UTC); one call deletes up to `at_most`. The events that stay
        keep their order and ids, and no id is given out again: an `after` of `events` stays valid.
        """


class TokenStore(Protocol):
    """Bearer tokens."""

    def add_token(
        self,
        name: str,
        role: Role,
        digest: str,
        event: NewEvent,
        *,
        pools: tuple[str, ...] | None = None,
        expires: str | None = None,
    ) -> Token | None:
        """Store a token, and log the event with the token's id as target.

        Args:
            digest: SHA-256 of the token's text, in hex.
            pools, expires: as in `Token`.

        Returns:
            The token. None: a token of this name exists.
        """

    def tokens(self) -> tuple[Token, ...]:
        """Return every token, oldest first."""

    def token_digests(self) -> Mapping[str, Token]:
        """Return the tokens by the SHA-256 (hex) of their text."""

    def former_digests(self) -> Mapping[str, Token]:
        """Return the tokens by the SHA-256 of texts that `rotate_token` has replaced.

        Here a token's `expires` is the end of that text. A text that has ended may be missing.
        """

    def rotate_token(self, token_id: str, digest: str, until: str, event: NewEvent) -> Token | None:
        """Give a token another text, and log the event with the token's id as target.

        Args:
            digest: SHA-256 of the new text, in hex.
            until: RFC 3339 in UTC; up to then `former_digests` has the text from before too.

        Returns:
            The token, in which nothing else changed. None: there is no such token.
        """

    def revoke_token(self, token_id: str, event: NewEvent) -> bool:
        """Delete a token with all its texts, and log the event.

        False: there is no such token, or the token is the only `lasting_admin`.
        """

    def touch_tokens(self, used: Mapping[str, str]) -> None:
        """Store when tokens were last used: token id -> RFC 3339 in UTC."""


class Store(
    DocumentStore,
    ProgressStore,
    ObservedStore,
    TokenStore,
    ElectionStore,
    CallStore,
    WebhookStore,
    Protocol,
):
    """A whole store."""

    def fenced(self, epoch: int) -> Store:
        """Return this store for the term `epoch`: the same data, and one lifetime with this one.

        Every write through it checks, in its own transaction, that no later term has begun, and
        raises LostLeadError where one has.
        """

    def calling(self, call: CallId, owner: str) -> Store:
        """Return this store for a call that `owner` carries out: the same data, as `fenced`.

        A transaction that logs an event also stores that the call has made its change, with the
        event and the version of its pool; with several events, the last one counts. It raises
        CallTakenOverError if the call is not this owner's any more.
        """

    def check_writable(self) -> None:
        """Read and write as a test; raises StorageError where that is not possible."""

    def close(self) -> None:
        """Close files and sockets. Idempotent; no other method may be called afterwards."""
