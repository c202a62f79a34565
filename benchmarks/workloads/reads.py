"""Reads from one thread, each call waiting for its reply."""

from __future__ import annotations

from itertools import cycle, islice

from benchmarks.peers.base import Peer
from benchmarks.workloads.base import ITEMS, KEYS, Workload

MGET_KEYS = 100
_GROUPS = [KEYS[start : start + MGET_KEYS] for start in range(0, len(KEYS), MGET_KEYS)]


def _get(peer: Peer, calls: int) -> None:
    get = peer.get
    for key in islice(cycle(KEYS), calls):
        get(key)


def _check_get(peer: Peer) -> None:
    for key in KEYS:
        assert peer.get(key) == ITEMS[key], f"GET {key} answered wrongly"


def _mget(peer: Peer, calls: int) -> None:
    mget = peer.mget
    for keys in islice(cycle(_GROUPS), calls):
        mget(keys)


def _check_mget(peer: Peer) -> None:
    for keys in _GROUPS:
        assert list(peer.mget(keys)) == [ITEMS[key] for key in keys], "MGET answered wrongly"


GET = Workload("get", "GET, one thread", 5000, _get, _check_get)
MGET = Workload("mget", f"MGET of {MGET_KEYS} keys, one thread", 500, _mget, _check_mget)
