"""The last steps of a shard that leaves: its sweep ends, and the Sentinels forget it.

end_drained   the intent "delete" is stored, the sweep deleted
forget_shard  SENTINEL REMOVE, then the intent is deleted
"""

from __future__ import annotations

import logging

from metaserver.domain.audit_log import NewEvent
from metaserver.domain.errors import RequestRefused
from metaserver.domain.pool_state import Intent, NewIntent, Sweep
from metaserver.process.identity import process_identity
from metaserver.redis_io.sentinel_group import SentinelGroup
from metaserver.store import Store

log = logging.getLogger("metaserver")


def forget_shard(store: Store, sentinels: SentinelGroup, intent: Intent) -> bool:
    """Have the Sentinels forget an intent's shard, then delete the intent.

    Returns:
        True if every Sentinel has forgotten the shard. Else the intent stays for a later call.

    Raises:
        StorageError: the intent stays for a later call.
    """
    delete = intent.action == "delete"
    outcome = sentinels.unregister(intent.shard, master=None if delete else intent.master)
    if outcome.failed:
        for at, reason in outcome.failed.items():
            log.warning("SENTINEL REMOVE %s on %s: %s", intent.shard, at, reason)
        return False
    event = NewEvent(
        "shard.undone",
        pool=intent.pool,
        target=intent.shard,
        detail=f"the half-done {intent.action} of {intent.shard} ({intent.master}) was undone",
    )
    return store.finish_intent(intent.id, None if delete else event)


def end_drained(
    store: Store, sweep: Sweep, master: str, sentinels: tuple[str, ...], event: NewEvent
) -> Intent | None:
    """Finish the sweep of a drained shard, and store the intent to have the Sentinels forget it.

    The intent is stored first, so that after kill -9 repair has the Sentinels forget the shard.
    The caller goes on with `forget_shard`.

    Returns:
        The intent. None: the sweep is gone already, and nothing was changed.

    Raises:
        RequestRefused: resize-in-progress.
        StorageError: the sweep is not finished.
    """
    intent = store.add_intent(
        NewIntent(sweep.pool, sweep.shard, master, "delete", sentinels, process_identity())
    )
    if intent is None:
        raise RequestRefused(
            "resize-in-progress",
            f"Something else is just being done to shard {sweep.shard!r}",
            "wait a few seconds and try again",
        )
    if store.finish_sweep(sweep.id, event):
        return intent
    store.finish_intent(intent.id)
    return None
