"""Intervals for claims about a method: other training seeds and other starts are both allowed for.

The outcomes of one cell are a matrix: a row for each training seed, a column for each start of an evaluation episode. Every
seed is tried on the same starts, so the two are crossed, not nested: a set of starts that happens to be easy is easy for all
seeds, and more seeds do not make up for it. The variance of the mean has a part for either::

    Var(mean) = (MS_seeds + max(MS_starts - MS_rest, 0)) / (seeds * starts)

with the mean squares of a two-way analysis of variance, and Hillis' degrees of freedom (Hillis 2007, Statistics in Medicine
26: 596-619, where readers and cases of diagnostic studies stand for our seeds and starts), at most starts - 1. NaN marks an episode lost to the
infrastructure; a few of them leave the mean squares nearly right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from am_ray.comparison.student_t import critical_value, two_sided_p
from am_ray.evaluation.intervals import Z_95, wilson_interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class MeanVariance:
    """The variance of a mean over seeds and starts, with its degrees of freedom."""

    variance: float
    df: float


@dataclass(frozen=True)
class DifferenceEstimate:
    """A paired difference of success rates.

    Attributes:
        mean: Mean over seeds of the seeds' means; ``None`` without a pair.
        interval: 95 %; [-1, 1] where nothing is known.
        p: Two-sided, of the same t statistic as the interval; ``None`` where there is none.
    """

    mean: float | None
    interval: Interval
    p: float | None


def crossed_variance(outcomes: np.ndarray) -> MeanVariance:
    """The variance of the mean of a (seeds, starts) matrix over new seeds and new starts; at least two seeds and starts."""
    known = ~np.isnan(outcomes)
    seeds, starts = outcomes.shape
    rows, columns = np.nanmean(outcomes, axis=1), np.nanmean(outcomes, axis=0)
    rest = np.where(known, outcomes - rows[:, None] - columns[None, :] + rows.mean(), 0.0)
    ms_rest = float(np.sum(rest**2)) / max(1, int(known.sum()) - seeds - starts + 1)
    # A seed's mean square estimates ms_rest + starts * (variance of seeds): below ms_rest it is below by chance.
    ms_seeds = max(starts * float(np.var(rows, ddof=1)), ms_rest)
    total = ms_seeds + max(seeds * float(np.var(columns, ddof=1)) - ms_rest, 0.0)
    df = (seeds - 1) * (total / ms_seeds) ** 2 if ms_seeds > 0 else float(seeds - 1)
    return MeanVariance(total / (seeds * starts), min(df, starts - 1.0))


def rate_interval(outcomes: np.ndarray) -> Interval:
    """The 95 % interval of a success rate: Wilson's, with the effective number of episodes and Student's t.

    ``n_effective = rate (1 - rate) / Var(mean)`` episodes would give the same variance if all were independent (Dean and
    Pagano 2015, Journal of Survey Statistics and Methodology 3: 484-503). It stays within [0, 1], and has a width at rates of 0 and 1.
    With one seed it is Wilson's interval, about this one policy.

    Args:
        outcomes: (seeds, starts), in [0, 1].
    """
    outcomes = counted(outcomes)
    if outcomes.size == 0:
        return 0.0, 1.0
    values = outcomes[~np.isnan(outcomes)]
    rate = float(np.nanmean(outcomes, axis=1).mean())
    if len(outcomes) == 1 and np.isin(values, (0.0, 1.0)).all():
        return wilson_interval(int(values.sum()), len(values))
    crossed = _variance(outcomes)
    quantile = critical_value(crossed.df) if len(outcomes) > 1 else Z_95
    # Episodes of one start or seed go together, never against one another: never less than if all were independent.
    variance = max(crossed.variance, float(np.var(values)) / len(values))
    effective = rate * (1 - rate) / variance if variance > 0 else float(len(values))
    return score_interval(rate, effective, quantile)


def score_interval(rate: float, n: float, quantile: float) -> Interval:
    """Wilson's interval of a rate seen in ``n`` episodes, where ``n`` need not be whole."""
    shrink = 1 + quantile**2 / n
    centre = (rate + quantile**2 / (2 * n)) / shrink
    half = quantile / shrink * math.sqrt(rate * (1 - rate) / n + quantile**2 / (4 * n * n))
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))


def method_difference(differences: np.ndarray) -> DifferenceEstimate:
    """What the method is worth: the interval allows for other seeds and other starts. One seed tells nothing.

    Args:
        differences: (seeds, starts), the arm's outcome minus the baseline's, NaN where either has none.
    """
    differences = counted(differences)
    if differences.size == 0:
        return DifferenceEstimate(None, (-1.0, 1.0), None)
    mean = float(np.nanmean(differences, axis=1).mean())
    if len(differences) == 1:
        return DifferenceEstimate(mean, (-1.0, 1.0), None)
    crossed = _variance(differences)
    # Never surer of the method than of these policies.
    of_policies = independent_variance(np.nanmean(differences, axis=0))
    variance = max(crossed.variance, independent_variance(differences), of_policies)
    return _estimate(mean, variance, crossed.df)


def policies_difference(differences: np.ndarray) -> DifferenceEstimate:
    """What these trained policies are worth, on other starts of the same kind: the seeds are taken as they are."""
    differences = counted(differences)
    if differences.size == 0:
        return DifferenceEstimate(None, (-1.0, 1.0), None)
    starts = np.nanmean(differences, axis=0)
    mean = float(np.nanmean(differences, axis=1).mean())
    variance = independent_variance(starts)
    return _estimate(mean, variance, max(1.0, len(starts) - 1.0))


def independent_variance(differences: np.ndarray) -> float:
    """Of the mean of independent pairs, with Agresti and Min's two pseudo-pairs (2005, Statistics in Medicine 24: 729-740).

    They are one tie, half a win and half a loss: where all pairs are equal the variance is not 0.
    """
    values = differences[~np.isnan(differences)]
    n = len(values) + 2
    return float((np.sum(values**2) + 1) / n - (np.sum(values) / n) ** 2) / n


def counted(outcomes: np.ndarray) -> np.ndarray:
    """The matrix without seeds and without starts of which no episode counts."""
    known = ~np.isnan(outcomes)
    return np.asarray(outcomes[known.any(axis=1)][:, known.any(axis=0)])


def _variance(outcomes: np.ndarray) -> MeanVariance:
    """`crossed_variance`, or that of plain independent values where there is one seed or one start."""
    if min(outcomes.shape) > 1:
        return crossed_variance(outcomes)
    n = outcomes.size
    return MeanVariance(float(np.var(outcomes, ddof=1)) / n if n > 1 else 0.0, max(1.0, n - 1.0))


def _estimate(mean: float, variance: float, df: float) -> DifferenceEstimate:
    half = critical_value(df) * math.sqrt(variance)
    return DifferenceEstimate(
        mean, (max(-1.0, mean - half), min(1.0, mean + half)), two_sided_p(mean / math.sqrt(variance), df)
    )
