"""The pool document: the versioned JSON that defines a pool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.json_text import NotJsonError, decode_json
from cachemesh.core.migration.phase import Migration
from cachemesh.core.names import check_name, parse_address
from cachemesh.core.placement import Placement
from cachemesh.core.pool.settings import check_settings

FORMAT = 1
_FIELDS = ("format", "pool", "version", "placement", "migration", "sentinels", "settings")


@dataclass(frozen=True)
class PoolDocument:
    """A pool at one version. Immutable.

    Attributes:
        pool: name of the pool.
        version: increases with every change.
        placement: which shard owns which key.
        migration: the change of placement in progress, or None. It has a `placement`, and a
            `phase`; fields and phases of later releases are kept. See `migrating`.
        sentinels: ``host:port`` of each Sentinel.
        settings: live configuration; see `cachemesh.core.pool.settings`.
        extra: fields that this release does not know, kept and passed on.
    """

    pool: str
    version: int
    placement: Placement
    migration: Mapping[str, Any] | None = None
    sentinels: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: object) -> PoolDocument:
        """Return the document that decoded JSON describes.

        Args:
            document: decoded JSON.

        Raises:
            InvalidDocumentError: a field is not valid; the message names the field and the reason.
        """
        if not isinstance(document, Mapping):
            raise InvalidDocumentError("The pool document is not a JSON object")
        if document.get("format") != FORMAT:
            raise InvalidDocumentError(
                f"Pool document format {document.get('format')!r}: this release reads {FORMAT}; "
                "upgrade cachemesh"
            )
        version = document.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise InvalidDocumentError(f"version {version!r} is not a positive integer")
        migration = document.get("migration")
        if migration is not None:
            if not isinstance(migration, Mapping):
                raise InvalidDocumentError("migration is neither null nor an object")
            Migration.from_dict(migration)
        sentinels = document.get("sentinels", [])
        if not isinstance(sentinels, (list, tuple)):
            raise InvalidDocumentError("sentinels is not a list of host:port")
        return cls(
            pool=check_name("pool", document.get("pool")),
            version=version,
            placement=Placement.from_dict(document.get("placement")),
            migration=migration,
            sentinels=tuple(str(parse_address(sentinel)) for sentinel in sentinels),
            settings=check_settings(document.get("settings", {}), keep_unknown=True),
            extra={name: value for name, value in document.items() if name not in _FIELDS},
        )

    @cached_property
    def migrating(self) -> Migration | None:
        """The migration in progress, as far as this release knows its fields; or None."""
        return None if self.migration is None else Migration.from_dict(self.migration)

    @property
    def shard_names(self) -> tuple[str, ...]:
        """The names of all shards that may have keys of the pool."""
        migrating = self.migrating
        if migrating is None or not migrating.moves:
            return self.placement.names
        return tuple(dict.fromkeys((*self.placement.names, *migrating.placement.names)))

    def to_dict(self) -> dict[str, Any]:
        """Return the document as JSON-ready values, unknown fields included."""
        return {
            **self.extra,
            "format": FORMAT,
            "pool": self.pool,
            "version": self.version,
            "placement": self.placement.to_dict(),
            "migration": None if self.migration is None else dict(self.migration),
            "sentinels": list(self.sentinels),
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> PoolDocument:
        """Return the document that a JSON text describes.

        Args:
            text: bytes in UTF-8, or str.

        Raises:
            InvalidDocumentError: not JSON (with line and column), or not a valid document.
        """
        try:
            decoded = decode_json(text)
        except NotJsonError as error:
            raise InvalidDocumentError(f"The pool document is {error}") from error
        return cls.from_dict(decoded)

    def to_json(self) -> str:
        """Return the document as JSON text, in the order of its fields."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    def replace(self, **changes: Any) -> PoolDocument:
        """Return a copy with some fields changed.

        Args:
            changes: attribute name -> new value.
        """
        return replace(self, **changes)
