"""Paired differences against the baseline arm, at two levels: of the method (over seeds), and of these trained policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from am_ray.comparison.aggregates import improvement_interval, probability_of_improvement
from am_ray.comparison.curves import area_outcomes, common_sizes, whole_seeds
from am_ray.comparison.intervals import (
    DifferenceEstimate,
    Interval,
    counted,
    method_difference,
    policies_difference,
)
from am_ray.comparison.resampling import holm, sign_flip_p, smallest_sign_flip_p
from am_ray.comparison.study import Study, outcome_matrix, size_text

NOT_ESTABLISHED = "difference not established"
LEVEL = 0.05


@dataclass(frozen=True)
class DifferenceRow:
    """An arm against the baseline, at one size or over the whole curve.

    Attributes:
        episodes: Labelled ones; ``None``: the area under the curve.
        seeds: That both arms have.
        unpaired_seeds: That only one of them has, and that are left out.
        pairs: Evaluation episodes that count in both.
        excluded_pairs: Left out, for the infrastructure failed in one of them or both.
        method: Seeds and starts as random: a claim about the method. Nothing ([-1, 1]) with one seed.
        p_method_holm: Its p, adjusted for all rows of the same kind.
        p_exact: Sign flips of the seeds, exact; about the method, without assumptions.
        p_exact_holm: The same, adjusted.
        p_exact_smallest: The least that so many seeds can give.
        policies: Starts as random, seeds as they are: a claim about these trained policies.
        p_policies: Sign flips of the starts, exact.
        improvement: Probability that a run of the arm beats one of the baseline.
        improvement_interval: 95 %.
        established: Whether the method's interval leaves out 0 and p_method_holm is below 0.05.
        established_before_holm: Whether the interval by itself leaves out 0.
        verdict: In words.
    """

    arm: str
    baseline: str
    episodes: int | None
    seeds: int
    unpaired_seeds: tuple[int, ...]
    pairs: int
    excluded_pairs: int
    method: DifferenceEstimate
    p_method_holm: float | None
    p_exact: float | None
    p_exact_holm: float | None
    p_exact_smallest: float | None
    policies: DifferenceEstimate
    p_policies: float | None
    improvement: float | None
    improvement_interval: Interval
    established: bool
    established_before_holm: bool
    verdict: str

    @property
    def where(self) -> str:
        return "whole curve" if self.episodes is None else size_text(self.episodes)

    @property
    def short_verdict(self) -> str:
        """For a table's cell."""
        direction = "higher" if (self.method.mean or 0) > 0 else "lower"
        if self.established:
            return direction
        return NOT_ESTABLISHED + (f" ({direction} before Holm)" if self.established_before_holm else "")


def difference_rows(study: Study) -> list[DifferenceRow]:
    """Every arm but the baseline, at every size that both have."""
    rows = []
    for arm in study.arms[1:]:
        for size in sorted(set(study.sizes(arm)) & set(study.sizes(study.baseline))):
            ours, theirs = study.group(arm, size), study.group(study.baseline, size)
            seeds = tuple(sorted(ours.keys() & theirs.keys()))
            matrices = [outcome_matrix(cells, seeds, study.starts) for cells in (ours, theirs)]
            unpaired = tuple(sorted(ours.keys() ^ theirs.keys()))
            rows.append(_row(study, arm, size, matrices, unpaired))
    return _adjusted(rows)


def area_rows(study: Study) -> list[DifferenceRow]:
    """The same for the area under the curve: one test for all sizes together."""
    sizes = common_sizes(study)
    if len(sizes) < 2:
        return []
    rows = []
    for arm in study.arms[1:]:
        have = [set(whole_seeds(study, name, sizes)) for name in (arm, study.baseline)]
        seeds = tuple(sorted(have[0] & have[1]))
        matrices = [area_outcomes(study, name, seeds, sizes) for name in (arm, study.baseline)]
        rows.append(_row(study, arm, None, matrices, tuple(sorted(have[0] ^ have[1]))))
    return _adjusted(rows)


def _row(
    study: Study, arm: str, size: int | None, matrices: Sequence[np.ndarray], unpaired: tuple[int, ...]
) -> DifferenceRow:
    differences = matrices[0] - matrices[1]
    missing = np.isnan(differences)
    ours, theirs = (np.where(missing, np.nan, matrix) for matrix in matrices)
    paired = ~missing.all(axis=1)
    rates = [np.nanmean(matrix[paired], axis=1) if paired.any() else np.empty(0) for matrix in (ours, theirs)]
    kept = counted(differences)
    seeds = len(kept)
    improvement = probability_of_improvement(rates[0].tolist(), rates[1].tolist()) if seeds else None
    return DifferenceRow(
        arm=arm,
        baseline=study.baseline,
        episodes=size,
        seeds=seeds,
        unpaired_seeds=unpaired,
        pairs=int((~missing).sum()),
        excluded_pairs=int(missing.sum()),
        method=method_difference(differences),
        p_method_holm=None,
        p_exact=sign_flip_p(np.nansum(kept, axis=1)),
        p_exact_holm=None,
        p_exact_smallest=smallest_sign_flip_p(seeds) if seeds else None,
        policies=policies_difference(differences),
        p_policies=sign_flip_p(np.nansum(kept, axis=0)),
        improvement=improvement,
        improvement_interval=(0.0, 1.0) if improvement is None else improvement_interval(improvement, seeds, seeds),
        established=False,
        established_before_holm=False,
        verdict="",
    )


def _adjusted(rows: list[DifferenceRow]) -> list[DifferenceRow]:
    """The rows with adjusted p values, and with verdicts that know them."""
    method, exact = holm([row.method.p for row in rows]), holm([row.p_exact for row in rows])
    done = []
    for row, p_method, p_exact in zip(rows, method, exact, strict=True):
        low, high = row.method.interval
        before = row.seeds > 1 and not low <= 0 <= high
        adjusted = replace(
            row,
            p_method_holm=p_method,
            p_exact_holm=p_exact,
            established=before and p_method is not None and p_method < LEVEL,
            established_before_holm=before,
        )
        done.append(replace(adjusted, verdict=_verdict(adjusted, len(rows))))
    return done


def _verdict(row: DifferenceRow, rows: int) -> str:
    if row.method.mean is None:
        return f"{NOT_ESTABLISHED}: no pair of episodes to compare"
    if row.seeds == 1:
        return f"{NOT_ESTABLISHED}: one seed says nothing about the method"
    if not row.established_before_holm:
        return NOT_ESTABLISHED
    verdict = f"{row.arm} {'higher' if row.method.mean > 0 else 'lower'} than {row.baseline}"
    if not row.established:
        return f"{verdict} by itself, but {NOT_ESTABLISHED} after Holm's correction for {rows} comparisons"
    return verdict
