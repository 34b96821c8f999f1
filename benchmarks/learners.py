"""`learners_2`: transitions trained per second by two learner processes over one, on the CPU.

Both sides are remote learners of RLlib (``num_learners`` 2 and 1), one CPU and one torch thread each, with the same batch for each
learner (1,024 by default networks, so that an update takes more than 20 ms), resident data, gradients averaged over gloo. Two
learners train two batches per update. Both algorithms exist the whole time, and the one that is not timed waits in its actors
without using the CPU; they train in turn. A rate is that of one whole iteration (``algorithm.train()``).

What it shows on a machine of two cores: both learners, the driver and Ray's own processes share them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.settings import IngestSettings
from benchmarks.measurement import Measurement, main, paired_ratio
from benchmarks.worlds import state_data

BATCH = 1024


def algorithm_of(num_learners: int, updates: int) -> Any:
    """An algorithm with so many remote learners, and so many updates in an iteration."""
    config = ActionableModelsConfig().training(batch_size=BATCH, updates_per_iteration=updates)
    config = config.dataset(str(state_data()), IngestSettings(mode="resident"))
    return config.learners(num_learners=num_learners, num_cpus_per_learner=1).build_algo()


def transitions_per_s(algorithm: Any) -> float:
    """Of one iteration, over all learners."""
    began = time.perf_counter()
    algorithm.train()
    updates = algorithm.config.updates_per_iteration
    return float(updates * BATCH * algorithm.config.num_learners / (time.perf_counter() - began))


def measure(quick: bool) -> dict[str, Measurement]:
    import ray

    # One CPU for each learner, and one more, which the driver's side of Ray takes now and then.
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    for name in ("ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    updates = 50 if quick else 80
    one, two = algorithm_of(1, updates), algorithm_of(2, updates)
    sides: list[Callable[[], float]] = [partial(transitions_per_s, each) for each in (two, one)]
    found = paired_ratio(*sides, pairs=5 if quick else 8, unit=" transitions/s")
    ms = 1e3 * BATCH / sides[1]()
    for each in (one, two):
        each.stop()
    return {"learners_2": replace(found, note=f"{found.note}; batch {BATCH}, {ms:.0f} ms per update of one learner")}


if __name__ == "__main__":
    main(measure, __doc__)
