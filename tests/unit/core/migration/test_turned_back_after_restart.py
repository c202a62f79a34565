"""A source comes back with an older state, as from a file: forward, and when it is turned back."""

from __future__ import annotations

import pytest

from tests.support.migrating_key import MigratingKey

WRITES = (("write",), ("write", "read"), ("pull", "write"))
"""No deletes: of a key that is nowhere else the file is believed, as without a migration."""


@pytest.mark.parametrize("actor", WRITES)
def test_what_the_target_has_wins(actor: tuple[str, ...]) -> None:
    assert not MigratingKey((actor,), ("restart S",)).explore()


@pytest.mark.parametrize("actor", WRITES)
def test_what_was_written_at_the_target_is_kept_when_it_is_turned_back(
    actor: tuple[str, ...],
) -> None:
    faults = ("restart S", "turn back", "fail over T")
    assert not MigratingKey((actor, ("pull",)), faults).explore()


def test_without_a_look_at_the_source_it_is_lost() -> None:
    faults = ("restart S", "turn back")
    path = MigratingKey((("write",),), faults, turns_back_without_a_look=True).explore()
    assert path[-1].wrong


def test_a_shard_that_is_about_to_get_it_back_wins_when_it_comes_back_older() -> None:
    """A limit that docs/resizing.md names: nobody looks for older copies once keys move back."""
    path = MigratingKey((("write",), ("pull",)), ("turn back", "restart T")).explore()
    assert path[-1].wrong == "1 is found instead of 10"
