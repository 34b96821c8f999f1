"""Numbers that sum up seeds or sizes: interquartile mean, probability of improvement, area, episodes to a threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from am_ray.comparison.intervals import Interval
from am_ray.evaluation.intervals import Z_95


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """The mean without the lowest and the highest quarter, rounded down (Agarwal et al. 2021; `scipy.stats.trim_mean`).

    With fewer than four scores nothing is cut, and it is the mean.

    Args:
        scores: (..., seeds).
    """
    cut = scores.shape[-1] // 4
    ordered = np.sort(scores, axis=-1)
    return np.asarray(ordered[..., cut : scores.shape[-1] - cut].mean(axis=-1))


def probability_of_improvement(scores: Sequence[float], baseline: Sequence[float]) -> float:
    """How often a run of the arm beats a run of the baseline, over all pairs of runs (Agarwal et al. 2021).

    ``mean over all pairs of [x > y] + [x = y] / 2``, the Mann-Whitney statistic over the number of pairs.
    """
    x, y = np.asarray(scores)[:, None], np.asarray(baseline)[None, :]
    # Rates of the same outcomes, averaged in another order, may differ in the last bit.
    ties = np.isclose(x, y, rtol=0, atol=1e-12)
    return float(np.mean(np.where(ties, 0.5, x > y)))


def improvement_interval(probability: float, runs: int, baseline_runs: int) -> Interval:
    """The 95 % interval of `probability_of_improvement`: Newcombe's score interval (2006, Statistics in Medicine 25: 559-573).

    It holds every theta that is at most 1.96 standard errors away from the probability seen, with the variance at theta
    (his method 5)::

        theta (1 - theta) / (m n) * (1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta)))

    The bootstrap would give an interval without width where all runs of one arm are above all runs of the other.
    """

    def inside(theta: float) -> bool:
        spread = (1 - theta) / (2 - theta) + theta / (1 + theta)
        pairs = runs * baseline_runs
        variance = theta * (1 - theta) / pairs * (1 + ((runs + baseline_runs) / 2 - 1) * spread)
        return abs(probability - theta) <= Z_95 * math.sqrt(variance)

    def bound(outside: float) -> float:
        if probability == outside:
            return outside
        near, far = probability, outside
        for _ in range(60):
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        return near

    return bound(0.0), bound(1.0)


def area_weights(sizes: Sequence[int]) -> np.ndarray:
    """Weights of the sizes' success rates in the normalised area under the curve, by trapezoids on a linear axis.

    The area is the mean success rate over numbers of episodes between the smallest and the largest size. At least two sizes.
    """
    x = np.asarray(sizes, dtype=float)
    weights = np.zeros(len(x))
    weights[:-1] += np.diff(x) / 2
    weights[1:] += np.diff(x) / 2
    return np.asarray(weights / (x[-1] - x[0]))


def episodes_to(threshold: float, sizes: Sequence[int], rates: Sequence[float]) -> float | None:
    """Where the curve first reaches the threshold, by straight lines between the sizes; ``None``: it does not.

    A curve that begins above the threshold has reached it at its first size.
    """
    previous: tuple[int, float] | None = None
    for size, rate in zip(sizes, rates, strict=True):
        if rate >= threshold:
            if previous is None:
                return float(size)
            before, low = previous
            return before + (threshold - low) / (rate - low) * (size - before)
        previous = size, rate
    return None
