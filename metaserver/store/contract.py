"""What the metaserver remembers, and the promises every store makes.

A store holds pool documents, the intents, sweeps and failovers under way, known work on shards, the
last known masters, what clients act on, the audit log, what of each pool it has told, and the
tokens. One `Store` object is used by one process, from
any thread or greenlet; several processes may each open a store on the same data.

Promises for every method:

* Atomic and durable: a method's writes happen together or not at all, and survive kill -9.
* `StorageFullError` (no room) or `StorageError` (anything else) means nothing was changed.
* A return of None or False means nothing was changed either; each docstring says when.
* No method waits for anything but the store itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.pool.document import PoolDocument
from metaserver.store.observed import ObservedStore, Work

Role: TypeAlias = Literal["read", "admin"]
SweepState: TypeAlias = Literal["waiting", "running", "failed"]
IntentAction: TypeAlias = Literal["create", "add", "delete"]


class StorageError(CacheMeshError):
    """The store could not be read or written; nothing was changed."""


class StorageFullError(StorageError):
    """The store has no room left; nothing was changed."""


class StorageDiskError(StorageError):
    """The disk refused: a quota that is used up, a limit on the size of files, or a fault."""


@dataclass(frozen=True)
class NewEvent:
    """An entry for the audit log before the store gave it a number. Never carries a secret."""

    action: str
    actor: str = "system"
    pool: str | None = None
    target: str | None = None
    detail: str = ""
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Event:
    """An entry of the audit log; `id` only rises, `at` is RFC 3339 in UTC."""

    id: int
    at: str
    actor: str
    action: str
    pool: str | None
    target: str | None
    detail: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None

    def to_dict(self) -> dict[str, object]:
        """The event as docs/api.md shows it."""
        return {
            "id": self.id,
            "at": self.at,
            "actor": self.actor,
            "action": self.action,
            "pool": self.pool,
            "target": self.target,
            "detail": self.detail,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class NewSweep:
    """A sweep to be added together with the change that calls for it."""

    shard: str
    master: str | None
    drained: bool = False


@dataclass(frozen=True)
class Sweep:
    """Keys to be removed from a shard that no longer owns them.

    `version` is the pool version from which on the shard no longer owns the slots. A `drained`
    shard left the pool: everything on it goes, and only then Sentinel forgets it. `master` is
    the address known when the sweep was made ("host:port"). `removed` counts keys. `created` is
    in seconds since the epoch.
    """

    id: int
    pool: str
    shard: str
    master: str | None
    version: int
    drained: bool
    state: SweepState
    removed: int
    detail: str
    created: float


@dataclass(frozen=True)
class NewIntent:
    """What is about to be told to Sentinels about one shard."""

    pool: str
    shard: str
    master: str
    action: IntentAction
    sentinels: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class Intent:
    """A step outside the store that may be half done.

    Written before `SENTINEL MONITOR`, and deleted in the transaction that puts the shard into
    the document. `undoing` is set once somebody set out to `SENTINEL REMOVE` the shard; from
    then on the document change it belonged to can no longer happen. A `delete` intent belongs to
    none: its shard has left already, and whoever finds it has the Sentinels forget the shard.
    `owner` is a `metaserver.loops.leader_election.process_identity()`; `created` is in seconds
    since the epoch.
    """

    id: int
    pool: str
    shard: str
    master: str
    action: IntentAction
    sentinels: tuple[str, ...]
    owner: str
    undoing: bool
    created: float


@dataclass(frozen=True)
class NewFailover:
    """A planned failover about to begin: of which shard, from which master ("host:port")."""

    pool: str
    shard: str
    master: str
    sentinels: tuple[str, ...]
    owner: str


@dataclass(frozen=True)
class Failover:
    """A planned failover under way.

    Written before anything is touched, and deleted once the shard is as it shall be. `notes` is
    JSON: what was changed for the time of the failover and has to be put back. `owner` is a
    `metaserver.loops.leader_election.process_identity()`, or "" once repair is to carry it on.
    """

    id: int
    pool: str
    shard: str
    master: str
    sentinels: tuple[str, ...]
    owner: str
    notes: Mapping[str, Any]


@dataclass(frozen=True)
class Token:
    """A bearer token as the store knows it: never the token itself. Times are RFC 3339 in UTC."""

    id: str
    name: str
    role: Role
    created: str
    last_used: str | None


@dataclass(frozen=True)
class PoolState:
    """A pool as one consistent read: its document, and what goes on in it, by shard name."""

    document: PoolDocument
    sweeps: tuple[Sweep, ...] = ()
    masters: Mapping[str, str] = field(default_factory=dict)
    work: Mapping[str, Work] = field(default_factory=dict)
    failovers: Mapping[str, Failover] = field(default_factory=dict)


class DocumentStore(Protocol):
    """Pool documents, and the audit log that is written with them."""

    def document(self, pool: str) -> PoolDocument | None:
        """The pool's document, or None if there is no such pool."""

    def documents(self) -> tuple[PoolDocument, ...]:
        """Every pool's document, by pool name."""

    def versions(self) -> Mapping[str, int]:
        """The version of every existing pool: the cheap question a watch asks."""

    def state(self, pool: str) -> PoolState | None:
        """Document, sweeps, masters, work and failovers of one moment; None without the pool."""

    def next_version(self, pool: str) -> int:
        """The version a creation or change of this pool would get now."""

    def create_document(
        self,
        document: PoolDocument,
        event: NewEvent,
        *,
        masters: Mapping[str, str] | None = None,
        intents: Sequence[int] = (),
    ) -> PoolDocument | None:
        """Store a new pool, log the event, remember the masters, note `joining` for each shard,
        and delete the intents, in one transaction.

        Returns the document with its version, which is above every version that a pool of this
        name ever had. None: the pool exists, or one of the intents is gone or being undone.
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
    ) -> PoolDocument | None:
        """Replace a pool's document, if its version still is `expected_version`.

        In the same transaction: log the event, add the sweeps (at the new version; a sweep that
        the shard already has is replaced and its id is gone), remember the masters, note
        `joining` for each shard that is new, delete the work of those that leave, and delete the
        intents. Returns the document with its new version. None: the pool is gone or at another
        version, one of the intents is gone or being undone, or a shard that leaves has a failover
        under way.
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

        In the same transaction the event is logged, its sweeps, masters, work and what was
        reported of it are deleted, every open intent of the pool is set `undoing`, and the `delete`
        intents are added; these are returned, since they name what Sentinels still have to
        forget. None: the pool is gone or at another version, or has a failover under way.
        """

    def record_event(self, event: NewEvent) -> Event:
        """Append to the audit log."""

    def events(self, pool: str | None = None, *, after: int = 0, limit: int = 100) -> list[Event]:
        """The newest `limit` events with an id above `after`, newest first."""

    def change_marker(self) -> Hashable:
        """A value that is another one whenever anything was changed, by whichever process.

        Cheap enough to be asked several times a second.
        """


class ProgressStore(Protocol):
    """What is under way outside the store: sweeps, intents, and where masters last were."""

    def sweeps(self, pool: str | None = None) -> tuple[Sweep, ...]:
        """The unfinished sweeps of one pool, or of all, oldest first."""

    def update_sweep(
        self,
        sweep_id: int,
        *,
        state: SweepState | None = None,
        removed: int | None = None,
        detail: str | None = None,
    ) -> bool:
        """Note progress; None keeps a field. False: the sweep is gone (finished, replaced by a
        later one, or its pool deleted), and whoever works on it stops."""

    def finish_sweep(self, sweep_id: int, event: NewEvent) -> bool:
        """Delete the sweep and log the event; for a drained shard its last master goes too.

        False: the sweep is gone already, and nothing was logged.
        """

    def add_intent(self, intent: NewIntent) -> Intent | None:
        """Note what is about to be done.

        None: an unfinished intent has the same shard name or the same master (unless that is "",
        unknown), or the shard has a failover under way.
        """

    def intents(self) -> tuple[Intent, ...]:
        """Every unfinished intent, oldest first."""

    def claim_intent(self, intent_id: int) -> bool:
        """Set `undoing`, so that the change it belongs to can no longer happen.

        True also if it was set before. False: the intent is gone (its change happened).
        """

    def finish_intent(self, intent_id: int, event: NewEvent | None = None) -> bool:
        """Delete the intent, and log the event if one is given. False: it is gone already."""

    def begin_failover(self, failover: NewFailover, *, within: float = 30.0) -> Failover | None:
        """Note a failover, without notes yet, and the work `failing over` for `within` seconds.

        None: the shard has one already, or an unfinished intent, or is not in the pool.
        """

    def failovers(self) -> tuple[Failover, ...]:
        """Every failover under way, oldest first."""

    def note_failover(
        self, failover_id: int, *, notes: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> bool:
        """Replace the notes, or the owner; None keeps them. False: the failover is gone."""

    def end_failover(self, failover_id: int, event: NewEvent, *, master: str) -> bool:
        """Delete the failover, log the event, and remember the master ("host:port").

        Its work goes too if the master is the one from before; else replicas still follow the new
        one, and `end_work` ends it. False: it is gone already, and nothing was logged.
        """

    def remember_master(self, pool: str, shard: str, address: str) -> None:
        """Keep the last known master ("host:port") of a shard. Nothing happens without the pool."""

    def last_master(self, pool: str, shard: str) -> str | None:
        """The last known master of a shard, or None."""

    def last_masters(self) -> Mapping[tuple[str, str], str]:
        """The last known master of every (pool, shard)."""

    def publish_acks(self, owner: str, lowest: Mapping[str, int]) -> None:
        """Replace what a process (`metaserver.loops.leader_election.process_identity()`) says about
        its live clients: per pool that has any, the lowest version that one of them acts on."""

    def acks(self) -> Mapping[str, Mapping[str, int]]:
        """What every process last published, by owner; also of those that have died since."""

    def forget_acks(self, owner: str) -> None:
        """Delete what a process published."""


class TokenStore(Protocol):
    """Who may ask."""

    def add_token(self, name: str, role: Role, digest: str, event: NewEvent) -> Token | None:
        """Store a token by the SHA-256 (hex) of its text, and log the event with the token's id
        as target. None: a token has this name already."""

    def tokens(self) -> tuple[Token, ...]:
        """Every token, oldest first."""

    def token_digests(self) -> Mapping[str, Token]:
        """The tokens by the SHA-256 (hex) of their text."""

    def revoke_token(self, token_id: str, event: NewEvent) -> bool:
        """Delete a token and log the event.

        False: there is no such token, or it is the only one with the role `admin`.
        """

    def touch_tokens(self, used: Mapping[str, str]) -> None:
        """Note when tokens (by id) were last used (RFC 3339 in UTC)."""


class Store(DocumentStore, ProgressStore, ObservedStore, TokenStore, Protocol):
    """Everything above, in one object."""

    def check_writable(self) -> None:
        """Read and write for a test; raises StorageError where that is not possible."""

    def close(self) -> None:
        """Let go of files and sockets. Idempotent; no other method may be called afterwards."""
