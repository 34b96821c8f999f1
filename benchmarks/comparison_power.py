"""What `am-ray compare` can find: the tables of docs/experiments.md, from simulated studies. Minutes on one core.

python benchmarks/comparison_power.py [--studies N]
"""

from __future__ import annotations

import argparse

import numpy as np

from am_ray.comparison.intervals import Interval, rate_interval
from am_ray.comparison.resampling import bootstrap_interval
from am_ray.comparison.simulation import World, coverage, detection
from am_ray.comparison.student_t import critical_value

SEEDS, STARTS = (2, 3, 5, 10), (50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    print("Coverage of nominal 95 % intervals of a success rate, in %, 50 starts\n")
    print(
        "| seeds | rate | seed spread | start spread | `compare` | bootstrap | bootstrap, own starts | t over seeds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for seeds in (3, 5, 10):
        for rate, seed_spread, start_spread in ((0.5, 0.5, 1.0), (0.5, 1.0, 0.0), (0.5, 0.0, 2.0), (0.9, 0.5, 1.0)):
            world = World(seeds, 50, seed_spread, start_spread)
            shares = [
                coverage(world, rate, method, studies=studies, seed=seeds)
                for method in (rate_interval, _crossed, _nested, _t)
            ]
            row = " | ".join(f"{100 * share:.0f}" for share in shares)
            print(f"| {seeds} | {rate} | {seed_spread} | {start_spread} | {row} |", flush=True)
    print("\nShare of studies whose difference is established, in %; baseline at 30 %\n")
    columns = (0, 10, 20, 30, 40)
    print("| seeds | starts | " + " | ".join(f"{points} points" for points in columns) + " |")
    print("| --- " * (2 + len(columns)) + "|")
    for seeds in SEEDS:
        for starts in STARTS:
            found = [
                detection(World(seeds, starts), 0.3, 0.3 + points / 100, studies=studies, seed=seeds)
                for points in columns
            ]
            cells = [
                f"{100 * (right + (wrong if points == 0 else 0)):.0f}"
                for points, (right, wrong) in zip(columns, found, strict=True)
            ]
            print(f"| {seeds} | {starts} | " + " | ".join(cells) + " |", flush=True)


def _crossed(outcomes: np.ndarray) -> Interval:
    return bootstrap_interval(outcomes, lambda drawn: drawn.mean(axis=-1), seed=0) or (0.0, 1.0)


def _nested(outcomes: np.ndarray) -> Interval:
    """The usual hierarchical bootstrap: starts are drawn anew within every seed."""
    rng = np.random.default_rng(0)
    seeds, starts = outcomes.shape
    rates = outcomes.mean(axis=1)[rng.integers(seeds, size=(2000, seeds))]
    low, high = np.quantile(rng.binomial(starts, rates).mean(axis=1) / starts, (0.025, 0.975))
    return float(low), float(high)


def _t(outcomes: np.ndarray) -> Interval:
    rates = outcomes.mean(axis=1)
    half = critical_value(len(rates) - 1.0) * float(rates.std(ddof=1)) / len(rates) ** 0.5
    return float(rates.mean()) - half, float(rates.mean()) + half


if __name__ == "__main__":
    main()
