"""How keys get from one shard to another when the metaserver pulls them."""

from __future__ import annotations

from cachemesh.core.migration.pull import Link
from cachemesh.core.names import parse_address
from metaserver.process.config import Config
from metaserver.redis_io.replica_wait import wait_ms


def link_to(
    master: str, config: Config, source_replicas: int, target_replicas: int, *, db: int = 0
) -> Link:
    """Return the way to a target.

    Args:
        master: of the target, "host:port" as its source reaches it.
        source_replicas, target_replicas, db: as in `Link`.
    """
    auth, waits = config.redis_auth, wait_ms(config)
    login = None if auth.password is None else (auth.username or "", auth.password)
    return Link(parse_address(master), source_replicas, target_replicas, waits, login, db=db)
