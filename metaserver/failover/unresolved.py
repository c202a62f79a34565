"""Why a failed failover cannot be resolved yet."""

from __future__ import annotations

from cachemesh.core.errors import CacheMeshError


class Unresolved(CacheMeshError):
    """A failover cannot be resolved now; a later attempt may succeed."""


class StillMaster(Unresolved):
    """The old master still says that it is a master, though a replica took over.

    Until that changes it has to refuse writes, since the pool would never see them.

    Attributes:
        promoted: the new master.
        next_step: what the operator can do.
    """

    def __init__(self, old: str, promoted: str, why: str) -> None:
        host, _, port = promoted.rpartition(":")
        super().__init__(
            f"{old} refuses writes, but says that it is a master still, though {promoted} took "
            f"over, and could not be made its replica: {why}"
        )
        self.promoted = promoted
        self.next_step = (
            f"on {old}: grant the metaserver's user what it lacks (ACL SETUSER USER +replicaof), "
            f"or send REPLICAOF {host.strip('[]')} {port} by hand; the rest is done then"
        )
