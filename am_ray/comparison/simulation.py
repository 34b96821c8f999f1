"""Studies whose truth is known, to measure what the intervals and verdicts are worth.

An episode succeeds with probability ``sigmoid(level + seed effect + start effect)``, both effects normal. The start effects
are the same for all seeds, and for both arms; each arm's seeds have effects of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from am_ray.comparison.intervals import Interval, method_difference

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)


@dataclass(frozen=True)
class World:
    """How much luck there is.

    Attributes:
        seed_spread: Standard deviation of the seeds' effects, in logits; 0.5 is about 12 points at a rate of one half.
        start_spread: Of the starts' effects, in logits; at 1 a start that is easier by it succeeds in 73 % where half do.
    """

    seeds: int
    starts: int
    seed_spread: float = 0.5
    start_spread: float = 1.0

    def draw(self, rng: np.random.Generator, *rates: float) -> list[np.ndarray]:
        """(seeds, starts) outcomes for every rate, on the same starts."""
        spread = float(np.hypot(self.seed_spread, self.start_spread))
        starts = self.start_spread * rng.normal(size=(1, self.starts))
        outcomes = []
        for rate in rates:
            seeds = self.seed_spread * rng.normal(size=(self.seeds, 1))
            chance = 1 / (1 + np.exp(-(level_of(rate, spread) + seeds + starts)))
            outcomes.append((rng.random(chance.shape) < chance).astype(float))
        return outcomes


@lru_cache(maxsize=256)
def level_of(rate: float, spread: float) -> float:
    """The level at which the success rate is ``rate`` on average over effects of this standard deviation; by bisection."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(np.sum(_WEIGHTS / (1 + np.exp(-(middle + spread * _NODES)))) / _WEIGHTS.sum())
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2


def coverage(
    world: World, rate: float, interval: Callable[[np.ndarray], Interval], *, studies: int, seed: int
) -> float:
    """The share of studies whose interval of a success rate holds the true one."""
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(studies):
        low, high = interval(world.draw(rng, rate)[0])
        hits += low <= rate <= high
    return hits / studies


def detection(world: World, baseline: float, rate: float, *, studies: int, seed: int) -> tuple[float, float]:
    """The shares of studies that find a difference of the right sign, and of the wrong one.

    With equal rates both are false alarms.
    """
    rng = np.random.default_rng(seed)
    right = wrong = 0
    for _ in range(studies):
        ours, theirs = world.draw(rng, rate, baseline)
        low, high = method_difference(ours - theirs).interval
        right += low > 0
        wrong += high < 0
    return right / studies, wrong / studies
