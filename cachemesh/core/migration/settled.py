"""The keys of which a client knows that their source has them no more."""

from __future__ import annotations

from collections.abc import Collection

LIMIT = 100_000
"""So many keys are remembered, and up to as many again; a key that is forgotten is pulled anew."""


class SettledKeys:
    """A set of keys that forgets the oldest ones. Threads may share it.

    A shard gains none of the keys that move from it. So what is true of a key here stays true for
    the whole stage.
    """

    def __init__(self) -> None:
        self._recent = set[bytes]()
        self._older = set[bytes]()

    def add(self, keys: Collection[bytes]) -> None:
        """Remember keys; all of them, however many, until others are added."""
        recent = self._recent
        if len(recent) + len(keys) > LIMIT and recent:
            self._older, self._recent = recent, set(keys)
        else:
            recent.update(keys)

    def __contains__(self, key: object) -> bool:
        return key in self._recent or key in self._older
