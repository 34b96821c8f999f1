"""Hierarchical bootstrap, exact sign-flip test, Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from am_ray.comparison.intervals import Interval, counted

REPLICATES = 4_000
_EXACT_SEEDS = 20


def bootstrap_rates(outcomes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Success rates of resampled seeds: seeds are drawn, then starts.

    The starts are drawn once for all seeds, for all were tried on the same ones (Owen 2007, Annals of Applied Statistics 1:
    386-411). Drawing them anew within every seed would treat an easy set of starts as luck that averages out.

    Args:
        outcomes: (seeds, starts); NaN where an episode does not count, but not for all of a seed.
        rng: Of the draws.

    Returns:
        (replicates, seeds).
    """
    seeds, starts = outcomes.shape
    known = ~np.isnan(outcomes)
    drawn = rng.integers(seeds, size=(REPLICATES, seeds))
    # How often each start was drawn in each replicate.
    places = rng.integers(starts, size=(REPLICATES, starts)) + starts * np.arange(REPLICATES)[:, None]
    weights = np.bincount(places.ravel(), minlength=REPLICATES * starts).reshape(REPLICATES, starts).astype(float)
    counts = weights @ known.T
    sums = weights @ np.where(known, outcomes, 0.0).T
    # All starts that count for a seed may be absent from a draw: then its own mean stands in.
    rates = np.where(counts > 0, sums / np.maximum(counts, 1), np.nanmean(outcomes, axis=1))
    return np.take_along_axis(rates, drawn, axis=1)


def bootstrap_interval(
    outcomes: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seed: int
) -> Interval | None:
    """The 95 % percentile interval of a statistic of the seeds' success rates.

    Args:
        outcomes: (seeds, starts).
        statistic: (replicates, seeds) -> (replicates,).
        seed: Of the draws: the same report comes out every time.

    Returns:
        ``None`` with fewer than two seeds: there is nothing to draw from.
    """
    outcomes = counted(outcomes)
    if len(outcomes) < 2:
        return None
    values = statistic(bootstrap_rates(outcomes, np.random.default_rng(seed)))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def sign_flip_p(values: Sequence[float] | np.ndarray) -> float | None:
    """The exact two-sided p of the hypothesis that each value could as well have had the other sign.

    It is the share of all ``2^n`` choices of signs whose sum is at least as far from 0 as the one seen; values of 0 take no
    side. With outcomes of +1, 0 and -1 it is McNemar's exact test. Nothing is assumed of the values' distribution.

    Args:
        values: One for each independent unit (seed or start). Beyond 20 units, values that are not whole are rounded to
            a thousandth of the largest.

    Returns:
        ``None`` without values; 1 where all are 0.
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    if sizes.size == 0:
        return None
    observed = abs(float(np.sum(values)))
    sizes = sizes[sizes > 1e-12]
    if len(sizes) > _EXACT_SEEDS and not np.allclose(sizes, np.rint(sizes)):
        unit = float(sizes.max()) / 1000
        sizes, observed = np.rint(sizes / unit), round(observed / unit)
    sums: np.ndarray = np.zeros(1)
    shares: np.ndarray = np.ones(1)
    for size in sizes:
        both = np.round(np.concatenate([sums + size, sums - size]), 9)
        sums, where = np.unique(both, return_inverse=True)  # whole values: few sums, so any number of units is exact
        shares = np.bincount(where, weights=np.concatenate([shares, shares]) / 2)
    return min(1.0, float(shares[np.abs(sums) >= observed - 1e-8].sum()))


def smallest_sign_flip_p(units: int) -> float:
    """What `sign_flip_p` gives where all units point the same way: it cannot be smaller."""
    return min(1.0, 2.0 ** (1 - units))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979): below 0.05 they are wrong together in at most 5 % of studies.

    ``None`` (no test was possible) stays ``None`` and is not counted.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = largest
    return adjusted
