"""The views of /v1/backup and /v1/restore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from cachemesh.core.errors import InvalidDocumentError, SnapshotError
from cachemesh.core.pool.snapshot import Snapshot
from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.domain.backup import Backup
from metaserver.process.clock import rfc3339
from metaserver.service import backup

blueprint = Blueprint("backups", __name__)

_LATEST = 253_402_300_799.0  # the last second of 9999, whatever a client's clock said


@operation(blueprint, "takeBackup")
def take_backup(call: Call) -> Response:
    """Reply with every pool and token."""
    return json_reply(backup.take(call.backend.context).to_dict())


@operation(blueprint, "restoreBackup")
def restore_backup(call: Call) -> Response:
    """Create what the store lacks of a backup."""
    saved, dry_run = _saved(call.body["backup"]), call.body.get("dry_run", False)
    items = backup.restore(call.backend.context, call.actor, saved, dry_run=dry_run)
    note_outcome(dry_run=dry_run, changed=any(item.outcome == "restored" for item in items))
    return json_reply({"dry_run": dry_run, "items": [item.to_dict() for item in items]})


def _saved(given: Mapping[str, Any]) -> Backup:
    """Return a backup, or the pool of a client's snapshot, which has a `checksum`.

    Raises:
        InvalidDocumentError: the JSON is neither, or was changed since.
    """
    if "checksum" not in given:
        return Backup.from_dict(given)
    try:
        snapshot = Snapshot.from_dict(given)
    except SnapshotError as error:
        raise InvalidDocumentError(
            f"the snapshot of a client cannot be used: {error}; take that of another client"
        ) from error
    at = min(max(0.0, snapshot.confirmed_at), _LATEST)
    return Backup.of_snapshot(snapshot, f"a client's snapshot, {rfc3339(at)}")
