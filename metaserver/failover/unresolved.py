"""Why a failover that did not go well cannot be settled yet."""

from __future__ import annotations

from cachemesh.core.errors import CacheMeshError


class Unsettled(CacheMeshError):
    """Not now; it is to be tried again."""


class StillMaster(Unsettled):
    """`old` says that it is a master although `promoted` took over, and does not obey us.

    As long as that is so it has to refuse writes, since the pool would never see them.
    `next_step` is what the operator can do.
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
