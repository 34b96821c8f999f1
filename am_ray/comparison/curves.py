"""Success rates by arm and size, with intervals: the rows of the table and the points of the figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from am_ray.comparison.aggregates import area_weights, episodes_to, interquartile_mean
from am_ray.comparison.intervals import Interval, counted, rate_interval
from am_ray.comparison.resampling import bootstrap_interval
from am_ray.comparison.study import Study, outcome_matrix, size_text

# Of the bootstrap: the same results give the same report.
GENERATOR_SEED = 20_210_415
THRESHOLD = 0.5


@dataclass(frozen=True)
class RateRow:
    """An arm at one size.

    Attributes:
        seeds: That count.
        episodes_per_seed: Fewest and most evaluation episodes that count.
        infrastructure_failures: Evaluation episodes that do not.
        rate: Mean over seeds; ``None`` where no episode counts.
        interval: 95 %, about the method with two seeds and more, about this policy with one.
        interval_kind: ``seeds and starts`` or ``Wilson, one seed``.
        bootstrap: Percentile interval of the hierarchical bootstrap, beside it; ``None`` with one seed.
        iqm: Interquartile mean over seeds.
        iqm_interval: Bootstrap, as in Agarwal et al. (2021); ``None`` with one seed.
        seed_rates: Seed to success rate.
    """

    arm: str
    episodes: int
    seeds: int
    episodes_per_seed: tuple[int, int]
    infrastructure_failures: int
    rate: float | None
    interval: Interval
    interval_kind: str
    bootstrap: Interval | None
    iqm: float | None
    iqm_interval: Interval | None
    seed_rates: dict[int, float]


@dataclass(frozen=True)
class CurveRow:
    """An arm over all sizes.

    Attributes:
        sizes: Above 0 that all arms have, over which the area is taken.
        area: Under the curve of success rates, on a linear axis of labelled episodes, divided by the axis' length.
        area_seeds: Seeds that have all sizes.
        area_interval: 95 %; ``None`` without an area.
        to_threshold: Labelled episodes to a success rate of one half; ``None``: not reached.
        to_threshold_text: The same in words.
    """

    arm: str
    sizes: tuple[int, ...]
    area: float | None
    area_interval: Interval | None
    area_seeds: int
    to_threshold: float | None
    to_threshold_text: str


def rate_rows(study: Study) -> list[RateRow]:
    """A row for every arm and size."""
    return [_rate_row(study, arm, size) for arm in study.arms for size in study.sizes(arm)]


def curve_rows(study: Study, rates: list[RateRow]) -> list[CurveRow]:
    """A row for every arm; ``rates`` are those of `rate_rows`."""
    return [_curve_row(study, arm, [row for row in rates if row.arm == arm]) for arm in study.arms]


def common_sizes(study: Study) -> tuple[int, ...]:
    """The sizes that every arm has. Zero-shot is none of them: the curve is that of learning from labelled episodes."""
    sizes = [set(study.sizes(arm)) - {0} for arm in study.arms]
    return tuple(sorted(set.intersection(*sizes))) if sizes else ()


def area_outcomes(study: Study, arm: str, seeds: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """(seeds, starts): each start's own area under the curve; NaN where one of its episodes does not count."""
    weights = area_weights(sizes)
    cells = [outcome_matrix(study.group(arm, size), seeds, study.starts) for size in sizes]
    return np.asarray(sum(weight * cell for weight, cell in zip(weights, cells, strict=True)))


def whole_seeds(study: Study, arm: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Seeds that have a cell that counts at each of these sizes."""
    return tuple(sorted(set.intersection(*(set(study.group(arm, size)) for size in sizes)))) if sizes else ()


def _rate_row(study: Study, arm: str, size: int) -> RateRow:
    cells = study.group(arm, size)
    seeds = tuple(sorted(cells))
    outcomes = outcome_matrix(cells, seeds, study.starts)
    numbers = np.sum(~np.isnan(outcomes), axis=1)
    known = counted(outcomes)
    rates = {seed: float(np.nanmean(row)) for seed, row, n in zip(seeds, outcomes, numbers, strict=True) if n > 0}
    values = np.array(list(rates.values()))
    return RateRow(
        arm=arm,
        episodes=size,
        seeds=len(known),
        episodes_per_seed=(int(numbers.min()), int(numbers.max())),
        infrastructure_failures=int(np.isnan(outcomes).sum()),
        rate=float(values.mean()) if rates else None,
        interval=rate_interval(outcomes),
        interval_kind="Wilson, one seed" if len(known) == 1 else "seeds and starts",
        bootstrap=bootstrap_interval(known, lambda drawn: drawn.mean(axis=-1), seed=GENERATOR_SEED),
        iqm=float(interquartile_mean(values)) if rates else None,
        iqm_interval=bootstrap_interval(known, interquartile_mean, seed=GENERATOR_SEED),
        seed_rates=rates,
    )


def _curve_row(study: Study, arm: str, rates: list[RateRow]) -> CurveRow:
    points = [(row.episodes, row.rate) for row in rates if row.rate is not None]
    reached = episodes_to(THRESHOLD, [size for size, _ in points], [rate for _, rate in points])
    if reached is None:
        text = "not reached"
    else:
        text = (
            f"{reached:.0f} or fewer"
            if reached == points[0][0] > 0
            else size_text(0 if reached == 0 else max(1, round(reached)))
        )
    sizes = common_sizes(study)
    seeds = whole_seeds(study, arm, sizes)
    outcomes = counted(area_outcomes(study, arm, seeds, sizes)) if len(sizes) > 1 and seeds else np.empty((0, 0))
    return CurveRow(
        arm=arm,
        sizes=sizes,
        area=float(np.nanmean(outcomes, axis=1).mean()) if outcomes.size else None,
        area_interval=rate_interval(outcomes) if outcomes.size else None,
        area_seeds=len(outcomes),
        to_threshold=reached,
        to_threshold_text=text,
    )
