"""Made-up accesses, for a replay without a trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

_BATCH = 1024


def zipf(
    objects: int, operations: int, skew: float = 0.99, seed: int = 1, prefix: str = "object:"
) -> Iterator[str]:
    """Return an iterator of random accesses, of which few keys get most, as in web caches.

    The key of rank ``r`` (1 is the most popular) is drawn with a probability proportional to
    ``1 / r**skew`` (Zipf's law).

    Args:
        objects: how many different keys there are, at least 1.
        operations: how many accesses to draw.
        skew: 0 draws all keys equally often; the larger, the more the popular keys lead.
        seed: the same seed gives the same accesses.
        prefix: what every key begins with.

    Raises:
        ValueError: objects below 1, or operations or skew below 0.

    Source: Breslau et al., "Web Caching and Zipf-like Distributions", INFOCOM 1999, who measured
        skews of 0.64 to 0.83 on web proxies.
    """
    if objects < 1 or operations < 0 or skew < 0:
        raise ValueError(
            f"zipf(objects={objects}, operations={operations}, skew={skew}): "
            "objects must be at least 1, operations and skew at least 0"
        )
    return _draw(objects, operations, skew, seed, prefix)


def _draw(objects: int, operations: int, skew: float, seed: int, prefix: str) -> Iterator[str]:
    weights = list(accumulate(1.0 / rank**skew for rank in range(1, objects + 1)))
    names = [f"{prefix}{rank}" for rank in range(1, objects + 1)]
    draw = random.Random(seed).choices
    for start in range(0, operations, _BATCH):
        yield from draw(names, cum_weights=weights, k=min(_BATCH, operations - start))
