"""Made-up accesses, for when there is no trace at hand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

_BATCH = 1024


def zipf(
    objects: int, operations: int, skew: float = 0.99, seed: int = 1, prefix: str = "object:"
) -> Iterator[str]:
    """Accesses to few objects often and to many seldom, as web caches see them.

    Object ``r`` (1 the most popular) is drawn with a probability proportional to
    ``1 / r**skew`` (Zipf's law; Breslau et al., "Web Caching and Zipf-like Distributions",
    INFOCOM 1999, measured skews of 0.64 to 0.83 on web proxies).

    Args:
        objects: how many different keys there are, at least 1.
        operations: how many accesses to draw.
        skew: 0 is uniform; the larger, the more the popular ones lead.
        seed: the same seed gives the same accesses.
        prefix: what every key begins with.

    Raises:
        ValueError: objects below 1, or operations or skew below 0.
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
