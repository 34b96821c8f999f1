"""Milliseconds of one action by CEM: `GoalConditionedPolicy.act`, NumPy observation and goal in, NumPy action out.

64 samples, 3 iterations, 6 elites (QT-Opt's sizes), default networks with fresh weights, one thread. `cem_ms` for 21-d states,
`cem_ms_image` for 64 px images; one observation and one goal at a time, as a robot asks. A figure is the mean over the actions of
one piece; the note gives the same for the package's default search.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time

import numpy as np
import torch

from am_ray.models.policy import GoalConditionedPolicy
from am_ray.settings import AlgorithmSettings, CemSettings
from benchmarks.bare_update import PIXELS, STATE_DIM, BareUpdate
from benchmarks.measurement import Measurement, main, median_of

SMALL = CemSettings(num_samples=64, num_iterations=3, num_elites=6)
PIECES, OBSERVATIONS = 5, 16


def act_ms(search: CemSettings, *, image: bool, seconds: float) -> list[float]:
    """Milliseconds per action in each piece of so many seconds."""
    settings = dataclasses.replace(AlgorithmSettings(), cem=search)
    policy = GoalConditionedPolicy(BareUpdate(settings, image=image, batches=0).model)
    observations, goals = (itertools.cycle(_observations(image, seed)) for seed in (0, 1))
    return [_piece(policy, observations, goals, seconds) for _ in range(PIECES + 1)][1:]


def _piece(
    policy: GoalConditionedPolicy,
    observations: itertools.cycle[np.ndarray],
    goals: itertools.cycle[np.ndarray],
    seconds: float,
) -> float:
    actions, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        policy.act(next(observations), next(goals))
        actions += 1
    return 1e3 * passed / actions


def _observations(image: bool, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    if image:
        return list(rng.integers(0, 256, (OBSERVATIONS, PIXELS, PIXELS, 3), np.uint8))
    return list(rng.standard_normal((OBSERVATIONS, STATE_DIM), np.float32))


def measure(quick: bool) -> dict[str, Measurement]:
    torch.set_num_threads(1)
    seconds = 0.4 if quick else 0.8
    found = {}
    for key, image in (("cem_ms", False), ("cem_ms_image", True)):
        default = statistics.median(act_ms(CemSettings(), image=image, seconds=seconds))
        sizes = CemSettings()
        note = f"{default:.2f} ms by the default search ({sizes.num_samples} samples x {sizes.num_iterations})"
        found[key] = median_of(act_ms(SMALL, image=image, seconds=seconds), note)
    return found


if __name__ == "__main__":
    main(measure, __doc__)
