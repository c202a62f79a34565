"""A pool in a file that a test resizes, phase by phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cachemesh.core.migration.phase import Migration
from cachemesh.core.placement import Placement, Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.local import Process
from tests.support.movable_pool import MovablePool
from tests.support.plain_redis import target


class ResizablePool(MovablePool):
    """A pool of all masters, which begins on all but the last.

    Attributes:
        small, large: the placements without and with the last master.
        version: of the document in the file.
    """

    def __init__(self, masters: Sequence[Process], directory: Path) -> None:
        names = {f"cache-{n}": target(master) for n, master in enumerate(masters)}
        super().__init__(names, directory)
        self._path = directory / f"cache-{self.sentinel.address[1]}.json"
        self.version = 1
        self.small: Placement = SlotsPlacement.even([Shard(name) for name in list(names)[:-1]])
        self.large: Placement = self.small.with_shards([Shard(name) for name in names])
        self.write(self.small)

    def write(self, placement: Placement, target: Placement | Migration | None = None) -> int:
        """Write the next document: stable, migrating, or prepared for a target to drop keys.

        Returns:
            Its version.
        """
        self.version += 1
        if isinstance(target, Placement):
            target = Migration("prepare", target)
        document = PoolDocument(
            "cache",
            self.version,
            placement,
            None if target is None else target.to_dict(),
            (str(self.sentinel),),
            {"poll_interval": 60.0},
        )
        draft = self._path.with_suffix(".new")
        draft.write_text(document.to_json())
        draft.replace(self._path)
        return self.version
