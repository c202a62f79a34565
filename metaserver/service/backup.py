"""Backups: taking one, and restoring what the store lacks.

A restored pool gets a version above the one of the backup, and above all that the store has had.
Its shards are swept, as keys may have moved since; Sentinels that have forgotten a shard are told
of it again by repair. Both wait where the pool was paused: it still is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.audit_log import NewEvent
from metaserver.domain.backup import Backup, PoolBackup, TokenBackup
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_pause import IS_PAUSED, is_paused
from metaserver.domain.pool_state import NewSweep
from metaserver.domain.resize import stable
from metaserver.process.clock import rfc3339
from metaserver.service.change import outline
from metaserver.service.context import ServiceContext
from metaserver.store import DamagedPoolError

_ATTEMPTS = 10  # to read everything while nothing changes


@dataclass(frozen=True)
class RestoredItem:
    """What became of a pool or a token of a backup, or with a dry run would become.

    Attributes:
        version: of the pool; None for a token.
        outcome: "kept": there was one of this name already, which stays as it is.
    """

    kind: Literal["pool", "token"]
    name: str
    version: int | None
    outcome: Literal["restored", "kept"]
    detail: str

    def to_dict(self) -> dict[str, object]:
        """Return the item as docs/api.md shows it."""
        return {
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "outcome": self.outcome,
            "detail": self.detail,
        }


def take(context: ServiceContext) -> Backup:
    """Return everything at one moment.

    Raises:
        DamagedPoolError: a pool cannot be read, and a backup without it would pass for a whole one.
        RequestRefused: too-many-changes: the store changed during every attempt.
        StorageError: the store cannot be read.
    """
    store = context.store
    for _ in range(_ATTEMPTS):
        marker = store.change_marker()
        for reason in store.damaged_pools().values():
            raise DamagedPoolError(reason)
        masters = store.last_masters()
        pools = tuple(
            PoolBackup(document, _of_pool(masters, document)) for document in store.documents()
        )
        tokens = tuple(
            TokenBackup(token.name, token.role, digest, token.pools, token.expires)
            for digest, token in store.token_digests().items()
        )
        if store.change_marker() == marker:
            return Backup(rfc3339(), pools, tokens)
    raise RequestRefused(
        "too-many-changes", "The store changes all the time", "try again in a moment"
    )


def restore(
    context: ServiceContext, actor: str, backup: Backup, *, dry_run: bool = False
) -> list[RestoredItem]:
    """Create the pools and tokens of a backup that the store lacks; others stay as they are.

    A restore that was broken off is repeated as a whole.

    Raises:
        RequestRefused: shard-exists: a shard of a lacking pool is in another pool; nothing was
            changed.
        StorageError: the rest was not restored.
    """
    _refuse_taken_shards(context, backup)
    items = [_restore_pool(context, actor, pool, backup.taken, dry_run) for pool in backup.pools]
    known = {token.name for token in context.store.tokens()}
    for token in backup.tokens:
        there = token.name in known
        if not there and not dry_run:
            event = NewEvent(
                "token.restore", actor, detail=f"restore {token.role} token {token.name}"
            )
            there = (
                context.store.add_token(
                    token.name,
                    token.role,
                    token.digest,
                    event,
                    pools=token.pools,
                    expires=token.expires,
                )
                is None
            )
        detail = "a token of this name exists" if there else f"role {token.role}"
        items.append(
            RestoredItem("token", token.name, None, "kept" if there else "restored", detail)
        )
    if not dry_run:
        context.changed()
    return items


def _restore_pool(
    context: ServiceContext, actor: str, saved: PoolBackup, taken: str, dry_run: bool
) -> RestoredItem:
    pool, store = saved.document.pool, context.store
    try:
        there = store.document(pool)
    except DamagedPoolError:
        there = None
    if there is not None:
        same = there.placement == saved.document.placement
        detail = f"the pool is at version {there.version}"
        if not same:
            detail += ", and its shards or slots are not those of the backup"
        return RestoredItem("pool", pool, there.version, "kept", detail)
    version = max(saved.document.version + 1, store.next_version(pool))
    document = stable(saved.document).replace(version=version)
    detail = f"from version {saved.document.version} of {taken}"
    detail += f"; {IS_PAUSED}, as it was then" if is_paused(document) else ""
    if not dry_run:
        event = NewEvent("pool.restore", actor, pool, None, detail, None, outline(document))
        stored = store.create_document(document, event, masters=saved.masters)
        if stored is None:
            return RestoredItem("pool", pool, None, "kept", "the pool was just created")
        version = stored.version
        context.announce(event, saved.document.version, version)
        swept = store.put_document(
            stored,
            version,
            NewEvent("pool.sweep", actor, pool, None, "remove keys that moved since the backup"),
            sweeps=[NewSweep(name, saved.masters.get(name)) for name in document.placement.names],
        )
        version = version if swept is None else swept.version
    return RestoredItem("pool", pool, version, "restored", detail)


def _refuse_taken_shards(context: ServiceContext, backup: Backup) -> None:
    """Refuse a backup that would put a shard into a second pool."""
    documents = context.store.documents()
    pools = {document.pool for document in documents}
    owners = {name: each.pool for each in documents for name in each.placement.names}
    for saved in backup.pools:
        for name in saved.document.placement.names:
            if saved.document.pool not in pools and name in owners:
                raise RequestRefused(
                    "shard-exists",
                    f"Shard {name!r} of pool {saved.document.pool!r} in the backup is in pool "
                    f"{owners[name]!r} here",
                    "restore this backup to a metaserver of its own",
                )


def _of_pool(masters: Mapping[tuple[str, str], str], document: PoolDocument) -> dict[str, str]:
    names = document.placement.names
    return {
        shard: address
        for (pool, shard), address in masters.items()
        if pool == document.pool and shard in names
    }
