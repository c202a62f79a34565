"""Every order of the steps of several pullers, with crashes and failovers; and planted mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.migrating_key import MigratingKey

WORLDS: list[tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = [
    ((("read",), ("write",), ("delete",)), ()),
    ((("write",), ("delete",)), ("fail over S", "fail over T")),
    ((("read",), ("delete", "read")), ("fail over S", "fail over T", "io error")),
    ((("write",), ("pull", "pull")), ("fail over S", "fail over T", "die")),
    ((("delete",), ("pull", "pull")), ("fail over S", "evict", "expire")),
    ((("write", "read"), ("pull",)), ("turn back", "fail over S", "fail over T")),
    ((("read", "delete"), ("write",)), ("turn back", "io error", "evict")),
    ((("delete",), ("delete", "pull")), ("late copy", "fail over T")),
    ((("delete", "write"),), ("late copy", "late copy", "fail over S")),
    ((("delete", "read"), ("pull",)), ("late copy", "io error")),
]


@pytest.mark.parametrize(("actors", "faults"), WORLDS)
def test_no_write_is_lost_and_nothing_comes_back(
    actors: tuple[tuple[str, ...], ...], faults: tuple[str, ...]
) -> None:
    for lagging in (False, True):
        assert not MigratingKey(actors, faults, lagging=lagging).explore()


MISTAKES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
    "no_wait_at_target": ((("write",),), ("fail over T",)),
    "no_wait_at_source": ((("delete",),), ("fail over S",)),
    "no_wait_where_nothing_was_found": ((("pull",), ("delete",)), ("fail over S",)),
    "waits_without_a_look": ((("pull",), ("delete",)), ("fail over S",)),
    "unconfirmed": ((("pull",),), ("fail over T",)),
    "copies_through_the_client": ((("pull",), ("delete",)), ()),
    "writes_without_a_pull": ((("delete",),), ()),
    "reads_without_a_pull": ((("read",),), ()),
    "reads_at_target_once": ((("pull",), ("read",)), ()),
    "looks_before_it_reads": ((("pull",), ("read",)), ()),
    "unlinks_before_an_overwrite": ((("write",),), ()),
    "unlinks_after_an_overwrite": ((("write",),), ("evict",)),
    "done_too_early": ((("pull",), ("read",)), ()),
    "fences_one_side_alone": ((("pull",), ("write",)), ("turn back",)),
    "leaves_late_copies": ((("delete",),), ("late copy",)),
    "forgets_what_is_late": ((("delete",),), ("late copy", "fail over S")),
    "outrun": ((("pull",), ("delete",)), ("late copy",)),
    "turns_back_without_a_fence": ((("pull",), ("write",)), ("turn back",)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    actors, faults = MISTAKES[mistake]
    flag: dict[str, Any] = {mistake: True}
    assert not MigratingKey(actors, faults).explore(), "without the mistake"
    assert MigratingKey(actors, faults, **flag).explore()


def test_what_has_to_happen_does() -> None:
    model = MigratingKey((("write",), ("write",)), ("turn back",))
    assert not model.explore()
    assert model.reached == {"busy", "turned back"}
    model = MigratingKey((("delete",),), ("late copy",))
    assert not model.explore()
    assert model.reached == {"busy", "cut"}
