"""The backup of a deployment: its pools with the last known masters, and its tokens, as JSON.

A backup holds what cannot be learnt from Sentinels. The audit log, and work under way, are not in
it. Of a token it has the SHA-256 of the text, as the store does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from cachemesh.core.errors import InvalidDocumentError
from cachemesh.core.names import check_name, parse_address
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.snapshot import Snapshot

FORMAT = 1
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # as `rfc3339` writes times


@dataclass(frozen=True)
class PoolBackup:
    """A pool of a backup.

    Attributes:
        masters: shard -> last known address of its master.
    """

    document: PoolDocument
    masters: Mapping[str, str]


@dataclass(frozen=True)
class TokenBackup:
    """A token of a backup, without its text.

    Attributes:
        digest: SHA-256 of the text, in hex.
        pools: the only pools that the token is good for; None: all.
        expires: RFC 3339 in UTC; None: never.
    """

    name: str
    role: Literal["read", "admin"]
    digest: str = field(repr=False)
    pools: tuple[str, ...] | None = None
    expires: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the token as docs/api.md shows it; limits that it does not have are left out."""
        found: dict[str, Any] = {"name": self.name, "role": self.role, "digest": self.digest}
        if self.pools is not None:
            found["pools"] = list(self.pools)
        if self.expires is not None:
            found["expires"] = self.expires
        return found


@dataclass(frozen=True)
class Backup:
    """A whole deployment at one moment.

    Attributes:
        taken: RFC 3339 in UTC; of a snapshot, in words.
    """

    taken: str
    pools: tuple[PoolBackup, ...]
    tokens: tuple[TokenBackup, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the backup as docs/api.md shows it, with its checksum."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "taken": self.taken,
            "pools": [
                {"document": pool.document.to_dict(), "masters": dict(pool.masters)}
                for pool in self.pools
            ],
            "tokens": [token.to_dict() for token in self.tokens],
        }
        return {**content, "sha256": _checksum(content)}

    @classmethod
    def of_snapshot(cls, snapshot: Snapshot, taken: str) -> Backup:
        """Return the pool that a client's snapshot holds, as a backup without tokens.

        Args:
            taken: when, in words.
        """
        topology = snapshot.topology
        masters = {shard: str(address) for shard, address in topology.masters.items()}
        return cls(taken, (PoolBackup(topology.document, masters),), ())

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Backup:
        """Return the backup that decoded JSON describes.

        Raises:
            InvalidDocumentError: the JSON is no backup, was changed since, or is of a later format.
        """
        if given.get("format") != FORMAT:
            raise InvalidDocumentError(
                f"backup format {given.get('format')!r:.40}: this release reads {FORMAT}; "
                "give a file that `cachemesh store backup` has written, or upgrade the metaserver"
            )
        content = {name: value for name, value in given.items() if name != "sha256"}
        if given.get("sha256") != _checksum(content):
            raise InvalidDocumentError(
                "the backup does not match its checksum: it was cut off or changed; use another one"
            )
        pools = tuple(_pool(each) for each in _objects(given, "pools"))
        names = [pool.document.pool for pool in pools]
        if len(set(names)) < len(names):
            raise InvalidDocumentError("the backup has a pool twice; use another one")
        tokens = tuple(_token(each) for each in _objects(given, "tokens"))
        return cls(str(given.get("taken")), pools, tokens)


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _objects(given: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = given.get(name)
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise InvalidDocumentError(f"{name} of the backup is not a list of objects")
    return found


def _pool(given: Mapping[str, Any]) -> PoolBackup:
    document = PoolDocument.from_dict(given.get("document"))
    masters = given.get("masters")
    if not isinstance(masters, Mapping) or set(masters) - set(document.placement.names):
        raise InvalidDocumentError(
            f"masters of pool {document.pool!r} is not an object with an address for each shard"
        )
    return PoolBackup(document, {shard: str(parse_address(at)) for shard, at in masters.items()})


def _token(given: Mapping[str, Any]) -> TokenBackup:
    name, role, digest = (
        check_name("token", given.get("name")),
        given.get("role"),
        given.get("digest"),
    )
    if role not in ("read", "admin"):
        raise InvalidDocumentError(f"role of token {name!r} is neither read nor admin")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidDocumentError(f"digest of token {name!r} is not a SHA-256 in hex")
    pools, expires = given.get("pools"), given.get("expires")
    if pools is not None and not isinstance(pools, list):
        raise InvalidDocumentError(f"pools of token {name!r} is not a list of names")
    if expires is not None and not (isinstance(expires, str) and _TIME.fullmatch(expires)):
        raise InvalidDocumentError(f"expires of token {name!r} is not RFC 3339 in UTC")
    return TokenBackup(
        name,
        cast("Literal['read', 'admin']", role),
        digest,
        None if pools is None else tuple(check_name("pool", pool) for pool in pools),
        expires,
    )
