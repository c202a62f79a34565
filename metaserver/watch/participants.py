"""The clients of a pool as a resize sees them: who has acknowledged a version, and who lags."""

from __future__ import annotations

from metaserver.domain.client_reports import AcknowledgedIds, Laggard
from metaserver.domain.resize_steps import Laggards
from metaserver.watch.client_registry import ClientRegistry


class RegisteredClients:
    """The clients that the metaservers know."""

    def __init__(self, registry: ClientRegistry) -> None:
        self._registry = registry

    def laggards(self, pool: str, version: int) -> Laggards:
        """Return the clients that have not acknowledged `version` or a later one.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        late = self._registry.laggards(pool, version)
        live = [each for each in late if not each.lease_over]
        return Laggards(
            live=tuple(map(_name, live)),
            expired=tuple(_name(each) for each in late if each.lease_over),
            unnamed=any(each.client is None for each in live),
        )

    def acknowledged(self, pool: str, version: int) -> AcknowledgedIds:
        """Return the ids of the clients that have.

        Raises:
            StorageError: what other processes have published cannot be read.
        """
        return self._registry.acknowledged(pool, version)


def _name(client: Laggard) -> str:
    return client.client if client.client is not None else f"({client.count} not named)"
