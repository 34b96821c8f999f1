"""`rllib_ratio`: transitions/s into the Learner, our streaming ingest over RLlib's own offline path, on the same Parquet files.

Both: one dataset (`worlds.state_data`, 620,000 rows of a 21-d state), batches of 1,024, this process as the only learner and three
reader processes, all pinned to the same two cores (where the system can pin), a Ray of two CPUs; counted per wall second in the
form that each Learner trains on, after start-up, with nothing but a counter consuming. RLlib runs between two halves of ours, so
that a drift of the machine's pace falls on both; each ratio is one of three seconds over one of three seconds.

Ours: ``open_ingest(mode="streaming")``, then what `ObjectiveLearner` does with a batch up to the loss (tensors, `TransitionBatch`).
A transition has s, a, s', the next action, a drawn goal and its labels, with all checks (page checksums, order, finite numbers).
Data are read again and again: ends of epochs, and what a new Ray Data pipeline costs, are in our figure.

RLlib's: its own classes as it puts them together: `BC` built from `BCConfig`, its `OfflineData.sample(return_iterator=True)` (so
`read_parquet` and `map_batches` over `OfflinePreLearner`), read through `MiniBatchRayDataIterator` as `Learner.update` does. A
transition has obs, action, reward, new_obs and two flags; nothing is relabelled, as RLlib knows no goals. ``input_read_schema``
maps our columns as they are, but for one thing: our files do not repeat the next observation, so ``new_obs`` names the column of
the observation itself (wrong numbers at the right price, less one column to read).

In doubt, RLlib is favoured: BC has the shortest connector pipeline of its offline algorithms; the columns it does not need are
not read; one footer actor instead of 32; blocks of 500 kB, as RLlib's default makes one block of these data, which one worker
maps alone while the learner waits for all of it; one CPU for its workers together, so that reads never wait for one; 1,024 rows instead of
our default of 256; the restart at the end of its epoch (seconds) is not in its figure. ``materialize_mapped_data`` is off, as in
MARWIL and IQL: on, which is BC's default, everything is mapped once and held in the object store, for data that fit there.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from am_ray.algorithm.learner import to_device
from am_ray.data.ingest import open_ingest
from am_ray.data.pipeline_threads import join_pipeline_threads
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import TransitionBatch
from benchmarks.measurement import Measurement, main, median_of
from benchmarks.worlds import ACTION_DIM, STATE_DIM, state_data

BATCH, WORKERS, CPUS = 1024, 3, 2
STATE = "observation.state"
SCHEMA = {
    "obs": STATE,
    "new_obs": STATE,
    "actions": "action",
    "rewards": "next.reward",
    "terminateds": "next.done",
}
BLOCK_BYTES = 500_000
WARM_UP_S = PIECE_S = 3.0
# RLlib's epoch must not end within a timed piece.
EPOCH_SHARE = 0.9


def our_rates(pieces: int) -> list[float]:
    """Transitions/s of each piece; the pipeline is gone afterwards."""
    ingest = IngestSettings(mode="streaming", num_workers=WORKERS)
    (source,) = open_ingest(state_data(), None, RelabelSettings(), ingest, batch_size=BATCH, seed=0)
    batches: Any = source.batches()
    cpu = torch.device("cpu")

    def take() -> int:
        return len(TransitionBatch.from_columns(to_device(next(batches), cpu)).action)

    rates = list(_rates(take, pieces))
    batches.close()
    join_pipeline_threads()
    return rates


def rllib_rates(pieces: int) -> list[float]:
    """Likewise; fewer pieces where the epoch would end within one."""
    from ray.rllib.utils.minibatch_utils import MiniBatchRayDataIterator

    algorithm = _bc()
    data: Any = algorithm.offline_data
    (iterator,) = data.sample(num_samples=BATCH, return_iterator=True, num_shards=0)
    batches: Any = iter(
        MiniBatchRayDataIterator(
            iterator=iterator,
            device=torch.device("cpu"),
            minibatch_size=BATCH,
            num_iters=None,
            **data.iter_batches_kwargs,
        )
    )
    rates = list(_rates(lambda: int(next(batches).env_steps()), pieces, most=EPOCH_SHARE * _rows()))
    batches.close()
    algorithm.stop()
    del batches, iterator, data, algorithm  # the pipeline ends with its last reference
    join_pipeline_threads()
    return rates


def _rates(take: Callable[[], int], pieces: int, *, most: float = float("inf")) -> Iterator[float]:
    """Rates of pieces of three seconds after a warm-up, while no more than ``most`` transitions are taken."""
    taken = take()  # start-up
    for number in range(pieces + 1):
        count, began = 0, time.perf_counter()
        length = PIECE_S if number else WARM_UP_S
        while time.perf_counter() - began < length and taken + count < most:
            count += take()
        taken += count
        if taken >= most:
            return
        if number:
            yield count / (time.perf_counter() - began)


def _bc() -> Any:
    from ray.data import DataContext
    from ray.rllib.algorithms.bc import BCConfig

    DataContext.get_current().target_max_block_size = BLOCK_BYTES
    DataContext.get_current().enable_progress_bars = False
    config = BCConfig().environment(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (STATE_DIM,), np.float32),
        action_space=gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32),
    )
    config = config.offline_data(
        input_=[str(state_data() / "data")],
        input_read_method_kwargs={"columns": sorted(set(SCHEMA.values()))},
        input_read_schema=SCHEMA,
        materialize_data=False,
        materialize_mapped_data=False,
        map_batches_kwargs={"concurrency": WORKERS, "num_cpus": 1 / WORKERS},
        dataset_num_iters_per_learner=1000,
    )
    return config.training(train_batch_size_per_learner=BATCH).learners(num_learners=0).build_algo()


def _rows() -> int:
    from am_ray.data.reader import read_dataset

    return read_dataset(state_data()).num_rows


def _start_ray() -> None:
    os.environ["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"] = "1"
    if hasattr(os, "sched_setaffinity"):
        # Inherited by every process that is started from here.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    import ray

    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, configure_logging=False)
    for name in ("ray.data", "ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)


def measure(quick: bool) -> dict[str, Measurement]:
    pieces = 2 if quick else 3
    _start_ray()
    before = our_rates(pieces)
    theirs = rllib_rates(2 * pieces)
    ours = (before + our_rates(pieces))[: len(theirs)]
    note = f"{np.median(ours):,.0f}/s over {np.median(theirs):,.0f}/s, {WORKERS} readers each on {CPUS} cores"
    return {"rllib_ratio": median_of([a / b for a, b in zip(ours, theirs, strict=True)], note)}


if __name__ == "__main__":
    main(measure, __doc__)
