"""Rounds in which every peer has its turn, so that a noisy moment hits all of them alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

from benchmarks.peers import Peer
from benchmarks.workloads import Workload


def measure(
    workload: Workload,
    peers: Mapping[str, Peer],
    rounds: int,
    scale: float,
    on_round: Callable[[int], None],
) -> dict[str, list[float]]:
    """Microseconds a call, of each peer in each round.

    Raises:
        AssertionError: a peer answers wrongly.
    """
    calls = max(1, round(workload.calls * scale))
    for peer in peers.values():
        workload.check(peer)
        workload.run(peer, max(1, calls // 10))
    taken: dict[str, list[float]] = {name: [] for name in peers}
    order = list(peers)
    for number in range(rounds):
        for name in order:
            taken[name].append(_microseconds(workload, peers[name], calls))
        order.append(order.pop(0))  # nobody always comes first
        on_round(number + 1)
    return taken


def _microseconds(workload: Workload, peer: Peer, calls: int) -> float:
    gc.collect()
    gc.disable()
    try:
        start = perf_counter()
        workload.run(peer, calls)
        return (perf_counter() - start) / calls * 1e6
    finally:
        gc.enable()


def ratios(taken: Mapping[str, list[float]], baseline: str) -> dict[str, float]:
    """Each peer's time over the baseline's: the median of the ratios of each round."""
    base = taken[baseline]
    return {
        name: median(mine / theirs for mine, theirs in zip(times, base, strict=True))
        for name, times in taken.items()
    }
