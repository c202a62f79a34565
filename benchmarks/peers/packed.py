"""Packs requests once and keeps them, for the floors, where a key always has the same value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from cachemesh.core.placement.keys import SLOT_COUNT, key_slot

_pack: Any = hiredis.pack_command  # its stub takes tuples of one word only

Part = tuple[int, bytes, list[int]]
"""The number of a server, the bytes to send to it, the positions of its keys among all."""


class Packed:
    """Packed requests to a number of servers, over which keys are spread by slot."""

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self.gets = _Gets(self)
        self.mgets = Requests(self, _one_command)
        self.pipelines = Requests(self, _command_each)
        self._sets: dict[str, tuple[int, bytes]] = {}

    def server_of(self, key: str) -> int:
        return key_slot(key.encode()) * self._servers // SLOT_COUNT

    def set(self, key: str, value: bytes) -> tuple[int, bytes]:
        """Return the number of the server, and the request."""
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = self.server_of(key), _pack(("SET", key, value))
        return found


class _Gets(dict[str, tuple[int, bytes]]):
    def __init__(self, packed: Packed) -> None:
        self._packed = packed

    def __missing__(self, key: str) -> tuple[int, bytes]:
        made = self[key] = self._packed.server_of(key), _pack(("GET", key))
        return made


class Requests:
    """One command for groups of keys; a group is identified by its first key and its size."""

    def __init__(self, packed: Packed, pack: Callable[[list[str]], bytes]) -> None:
        self._packed = packed
        self._pack = pack
        self._made: dict[tuple[str, int], list[Part]] = {}

    def __getitem__(self, keys: Sequence[str]) -> list[Part]:
        group = keys[0], len(keys)
        made = self._made.get(group)
        if made is None:
            made = self._made[group] = self._parts(keys)
        return made

    def _parts(self, keys: Sequence[str]) -> list[Part]:
        positions: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            positions.setdefault(self._packed.server_of(key), []).append(position)
        return [
            (server, self._pack([keys[position] for position in mine]), mine)
            for server, mine in positions.items()
        ]


def _one_command(keys: list[str]) -> bytes:
    packed: bytes = _pack(("MGET", *keys))
    return packed


def _command_each(keys: list[str]) -> bytes:
    return b"".join(_pack(("GET", key)) for key in keys)


def spread(count: int, parts: Sequence[tuple[list[int], list[Any]]]) -> list[Any]:
    """Return the values of all servers in the order of the keys."""
    if len(parts) == 1:
        return parts[0][1]
    values: list[Any] = [None] * count
    for positions, replies in parts:
        for position, reply in zip(positions, replies, strict=True):
            values[position] = reply
    return values
