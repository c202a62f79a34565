"""A source comes back with an older state, as from a file: forward, and when it is turned back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.support.migrating_key import FIRST, MigratingKey, Server, World


class RestartedSource(MigratingKey):
    """The model with one more fault: S, and its replica after it, has its first value again."""

    def _fails(self, world: World, fault: str) -> Iterator[World]:
        if fault == "restart S":
            again = Server(FIRST, FIRST, epoch=world.source.epoch + 1)
            yield replace(world, source=again)
        else:
            yield from super()._fails(world, fault)


WRITES = (("write",),)


def test_forward_what_the_target_has_wins() -> None:
    assert not RestartedSource(WRITES, ("restart S",)).explore()


def test_turned_back_what_was_written_at_the_target_is_kept() -> None:
    path = RestartedSource(WRITES, ("restart S", "turn back")).explore()
    assert not path, path[-1].wrong
