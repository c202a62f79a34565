"""What the loops of a resize know of clients, and what wakes them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Protocol

from metaserver.domain.resize_steps import Laggards
from metaserver.process.bell import Bell


class ResizedClients(Protocol):
    """Tells which version the clients act on, those of all metaservers together."""

    def laggards(self, pool: str, version: int) -> Laggards:
        """Return the clients that have not acknowledged `version` or a later one."""

    def acknowledged(self, pool: str, version: int) -> Container[str]:
        """Return the ids of the clients that have."""


@dataclass(frozen=True)
class ResizeBells:
    """What wakes the loop.

    Attributes:
        changed: rung after a change of a document by this process.
        acknowledged: rung by each watch call.
    """

    changed: Bell = field(default_factory=Bell)
    acknowledged: Bell = field(default_factory=Bell)
