"""The views of /v1/backup and /v1/restore."""

from __future__ import annotations

from flask import Blueprint, Response

from metaserver.api.request import Call, json_reply, operation
from metaserver.api.request_outcome import note_outcome
from metaserver.domain.backup import Backup
from metaserver.service import backup

blueprint = Blueprint("backups", __name__)


@operation(blueprint, "takeBackup")
def take_backup(call: Call) -> Response:
    """Reply with every pool and token."""
    return json_reply(backup.take(call.backend.context).to_dict())


@operation(blueprint, "restoreBackup")
def restore_backup(call: Call) -> Response:
    """Create what the store lacks of a backup."""
    saved, dry_run = Backup.from_dict(call.body["backup"]), call.body.get("dry_run", False)
    items = backup.restore(call.backend.context, call.actor, saved, dry_run=dry_run)
    note_outcome(dry_run=dry_run, changed=any(item.outcome == "restored" for item in items))
    return json_reply({"dry_run": dry_run, "items": [item.to_dict() for item in items]})
