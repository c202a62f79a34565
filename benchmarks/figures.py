"""Computes medians, quartiles and ratios of measured figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of some figures."""

    median: float
    q1: float
    q3: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        if len(figures) > 1:
            q1, _, q3 = quantiles(figures, n=4, method="inclusive")
        else:
            q1 = q3 = figures[0]
        return cls(median(figures), q1, q3, min(figures), max(figures))

    def as_dict(self) -> dict[str, float]:
        """Return JSON-ready values of five significant digits."""
        return {name: significant(value) for name, value in asdict(self).items()}


def significant(value: float) -> float:
    """Round to five significant digits."""
    return float(f"{value:.5g}")


def times_as_fast(mine: Sequence[float], others: Sequence[float]) -> Spread:
    """Return how many times as fast the first was as the second.

    The ratio is taken in each round, so that whatever slows a whole round cancels out.

    Args:
        mine, others: times of the same rounds, in order.
    """
    return Spread.of([other / me for me, other in zip(mine, others, strict=True)])
