"""The snapshot of a topology: what a client last routed by, as a text that a file can hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cachemesh.core.errors import InvalidDocumentError, SnapshotError, shown
from cachemesh.core.json_text import MAX_DOCUMENT_BYTES, NotJsonError, decode_json
from cachemesh.core.names import Address, parse_address
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology

FORMAT = 1
MAX_SNAPSHOT_BYTES = 2 * MAX_DOCUMENT_BYTES
"""Largest snapshot that is read: a document, and the addresses of its instances."""

RENEW_SECONDS = 60.0
"""By so much a snapshot may be older than what is known, if it tells nothing else."""

AHEAD_SECONDS = 300.0
"""By so much the clock of its writer may have been ahead."""


@dataclass(frozen=True)
class Snapshot:
    """A topology that was good at some time. Immutable.

    Attributes:
        source: identity of the source that the document came from, without a secret.
        confirmed_at: when that source last answered, in seconds since 1970.
        topology: document, masters and replicas. Candidates are not kept.
    """

    source: str
    confirmed_at: float
    topology: Topology

    @property
    def version(self) -> int:
        """Version of the document."""
        return self.topology.document.version

    def to_json(self) -> str:
        """Return the snapshot as JSON text with a checksum."""
        topology = self.topology
        body = {
            "format": FORMAT,
            "pool": topology.document.pool,
            "source": self.source,
            "confirmed_at": round(self.confirmed_at, 3),
            "document": topology.document.to_dict(),
            "masters": {name: str(address) for name, address in topology.masters.items()},
            "replicas": {
                n: [str(each) for each in found] for n, found in topology.replicas.items()
            },
        }
        return json.dumps({"checksum": _checksum(body), **body}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Snapshot:
        """Return the snapshot that a text holds.

        Args:
            text: bytes in UTF-8, or str.

        Raises:
            SnapshotError: the text was cut off or altered, or is not a snapshot.
        """
        try:
            return cls.from_dict(decode_json(text))
        except NotJsonError as error:
            raise SnapshotError(f"it was cut off or damaged: {error}") from error

    @classmethod
    def from_dict(cls, given: object) -> Snapshot:
        """Return the snapshot in decoded JSON.

        Raises:
            SnapshotError: the JSON was altered, or is not a snapshot.
        """
        try:
            if not isinstance(given, dict) or "checksum" not in given:
                raise SnapshotError("it is no snapshot of a pool")
            body = dict(given)
            if body.get("format") != FORMAT:
                raise SnapshotError(
                    f"it has format {shown(body.get('format'))}, and this release reads {FORMAT}"
                )
            if body.pop("checksum") != _checksum(body):
                raise SnapshotError("its checksum is wrong: it was altered or damaged")
            return cls._from_dict(body)
        except InvalidDocumentError as error:
            raise SnapshotError(f"it holds no valid pool: {error}") from error

    @classmethod
    def _from_dict(cls, body: Mapping[str, Any]) -> Snapshot:
        source, at = body.get("source"), body.get("confirmed_at")
        if not isinstance(source, str) or isinstance(at, bool) or not isinstance(at, (int, float)):
            raise InvalidDocumentError("source or confirmed_at is missing")
        document = PoolDocument.from_dict(body.get("document"))
        if document.pool != body.get("pool"):
            raise InvalidDocumentError(f"it is of two pools: {shown(body.get('pool'))} and its own")
        topology = Topology(document).with_masters(
            {name: parse_address(text) for name, text in _object(body, "masters").items()}
        )
        return cls(source, float(at), topology.with_replicas(_addresses(body)))

    def check(self, pool: str | None, source: str, now: float) -> None:
        """Check that a client may route by this snapshot.

        Args:
            pool: that the client follows; None if the source alone knows its name.
            source: identity of the client's source.
            now: seconds since 1970.

        Raises:
            SnapshotError: the snapshot is of something else, or from the future.
        """
        document = self.topology.document
        if pool is not None and document.pool != pool:
            raise SnapshotError(f"it is of pool {document.pool!r}, not {pool!r}")
        if self.source != source:
            raise SnapshotError(f"it is of {self.source}, not of {source}")
        if self.confirmed_at - now > AHEAD_SECONDS:
            raise SnapshotError(
                f"it is {self.confirmed_at - now:.0f} s from the future: the clock was or is wrong"
            )


def successor(ours: Snapshot, stored: Snapshot | None) -> Snapshot | None:
    """Return the snapshot to store in place of a stored one, None to leave that.

    Several processes store theirs at one place. One that was cut off must not undo what another
    has learned; but what a former deployment at the same addresses has left must not stay.

    Args:
        ours: what this process routes by.
        stored: what was found; None if that is of no use.
    """
    if stored is None:
        return ours
    mine, other = ours.topology, stored.topology
    later = ours.confirmed_at - stored.confirmed_at
    if mine.document.to_json() != other.document.to_json():
        return None if stored.version > ours.version and later < RENEW_SECONDS else ours
    known = Topology(mine.document).with_masters({**other.masters, **mine.masters})
    known = known.with_replicas({**other.replicas, **mine.replicas})  # not every client wants them
    if later < RENEW_SECONDS and (known.masters, known.replicas) == (other.masters, other.replicas):
        return None
    at = max(ours.confirmed_at, stored.confirmed_at)
    return replace(ours, confirmed_at=at, topology=known)


def _checksum(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise InvalidDocumentError(f"{name} is not an object")
    return value


def _addresses(body: Mapping[str, Any]) -> dict[str, tuple[Address, ...]]:
    found = {}
    for name, texts in _object(body, "replicas").items():
        if not isinstance(texts, Sequence) or isinstance(texts, str):
            raise InvalidDocumentError("replicas is not an object of lists")
        found[name] = tuple(map(parse_address, texts))
    return found
