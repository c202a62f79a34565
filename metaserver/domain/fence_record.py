"""Which clients are fenced, as the pool document holds it until the last one has acknowledged."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.pool.document import PoolDocument

FIELD = "fence"
"""The field of the pool document. Clients do not know it, and pass it on."""


@dataclass(frozen=True)
class FenceRecord:
    """A fence that is up.

    Attributes:
        version: the version that the marker carries.
        clients: ids of the clients that have not acknowledged; as far as they were known.
        masters: shard that has the marker -> its master then.
    """

    version: int
    clients: tuple[str, ...] = ()
    masters: Mapping[str, str] = field(default_factory=dict)

    def merged(self, earlier: FenceRecord | None) -> FenceRecord:
        """Return this fence together with an earlier one that is still up."""
        if earlier is None:
            return self
        clients = dict.fromkeys([*earlier.clients, *self.clients])
        return FenceRecord(self.version, tuple(clients), {**earlier.masters, **self.masters})

    def left(self, acknowledged: Container[str]) -> tuple[str, ...]:
        """Return the clients that have not acknowledged yet."""
        return tuple(client for client in self.clients if client not in acknowledged)

    def to_dict(self) -> dict[str, Any]:
        """Return the fence as JSON-ready values."""
        return {
            "version": self.version,
            "clients": list(self.clients),
            "masters": dict(self.masters),
        }

    @classmethod
    def from_dict(cls, kept: object) -> FenceRecord:
        """Return the reverse of `to_dict`.

        Raises:
            InvalidDocumentError: it is no fence.
        """
        if not isinstance(kept, Mapping):
            raise InvalidDocumentError("fence is not an object")
        version, clients, masters = kept.get("version"), kept.get("clients"), kept.get("masters")
        if (
            not isinstance(version, int)
            or not isinstance(clients, (list, tuple))
            or not isinstance(masters, Mapping)
        ):
            raise InvalidDocumentError("fence: its version, clients or masters is none")
        return cls(
            version,
            tuple(str(client) for client in clients),
            {str(shard): str(address) for shard, address in masters.items()},
        )


def fence_of(document: PoolDocument) -> FenceRecord | None:
    """Return the fence that is up, or None.

    Raises:
        InvalidDocumentError: the field holds no fence.
    """
    kept = document.extra.get(FIELD)
    return None if kept is None else FenceRecord.from_dict(kept)


def fenced_of(document: PoolDocument) -> list[str]:
    """Return the ids of the clients that are fenced, as docs/api.md shows them."""
    try:
        record = fence_of(document)
    except InvalidDocumentError:
        return []
    return [] if record is None else list(record.clients)


def with_fence(document: PoolDocument, record: FenceRecord) -> PoolDocument:
    """Return the document with this fence in addition to one that is up already."""
    merged = record.merged(fence_of(document))
    return document.replace(extra={**document.extra, FIELD: merged.to_dict()})


def without_fence(document: PoolDocument) -> PoolDocument:
    """Return the document without a fence."""
    extra = {name: value for name, value in document.extra.items() if name != FIELD}
    return document.replace(extra=extra)


def is_lifted(before: PoolDocument, now: PoolDocument) -> bool:
    """Return whether the fence of `before` has been lifted since, and nothing else has changed."""
    fenced = before.extra.get(FIELD) is not None
    return fenced and now == without_fence(before).replace(version=now.version)
