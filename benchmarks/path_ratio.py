"""Updates per second of the whole path, Parquet to Ray Data to RLlib's Learner, over a bare PyTorch loop.

Both sides train the same network (default settings, same seed, batch 256) with one torch thread, fused AdamW, `step_if_finite` and
`update_averages`, in turn, the same number of updates in a piece.

* Theirs, the bare loop: a few batches of the same dataset that lie in memory as torch tensors; `model.loss`, `backward`, step, averages.
  No reading, no relabeling, no conversion, no metrics kept. It has a process of its own, so that no thread of Ray's is in it.
* Ours: `algorithm.train()` of a local learner, one RLlib iteration a piece, timed around the call, so that RLlib's bookkeeping and the
  metrics are in it. ``streaming``: Ray Data tasks read Parquet with its checksums verified (images: the decoded cache, filled
  beforehand), relabel and send blocks. ``resident``: the learner relabels at each update from its memory.

Steady state: a first piece of each side does not count, and the pipeline is neither ended nor begun anew while pieces are timed
(it lasts for 512 windows, tens of thousands of updates). Before each piece `settle` waits until Ray's processes are idle, as
they are once the pipeline's buffers are full. So the bare loop runs beside a pipeline at rest, and no piece of ours lives on what was
read during the other's: buffers are full at its start, and what it takes out is read again behind it. They are small against
a piece: the object store has 256 MB, of which the pipeline may fill a quarter. The note says how much CPU time Ray's processes took
for each update, and how much of a core the learner's process takes while nothing is asked of it (threads of Ray Data's).
Ray has two CPUs; readers may use a core that the learner leaves idle, which is what streaming is for.
"""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import ray
import torch

from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.algorithm.learner import to_device, update_seed
from am_ray.core.updates import step_if_finite
from am_ray.data.ingest import open_ingest
from am_ray.data.pipeline_threads import join_pipeline_threads
from am_ray.memory_reuse import reuse_freed_memory
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, IngestSettings
from am_ray.types import TransitionBatch
from benchmarks.measurement import Measurement, main, paired_ratio
from benchmarks.worlds import image_data, state_data

STORE_BYTES = 256 << 20
# Processes count as idle below this share of a core over this time; they have so long to come to rest.
IDLE_CORES, IDLE_S, GIVE_UP_S = 0.15, 0.5, 30.0


class BareLoop:
    """The learner's update without a learner, on batches in memory."""

    def __init__(self, facts: dict[str, Any], batches: list[Any]) -> None:
        torch.set_num_threads(1)
        reuse_freed_memory()  # as the learner does, so that only the path differs
        torch.manual_seed(facts["seed"])
        self.model: Any = build_model(facts["spec"], facts["statistics"], facts["settings"])
        self.parameters = self.model.trainable_parameters()
        self.settings = facts["settings"].optimization
        rate, decay = self.settings.learning_rate, self.settings.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay, fused=True)
        self.batches = [TransitionBatch.from_columns(to_device(batch, torch.device("cpu"))) for batch in batches]
        self.generator, self.done = torch.Generator(), 0

    def rate(self, updates: int) -> float:
        """Updates per second."""
        began = time.perf_counter()
        for _ in range(updates):
            self._update()
        return updates / (time.perf_counter() - began)

    def _update(self) -> None:
        batch = self.batches[self.done % len(self.batches)]
        seed = update_seed(0, 0, self.done)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.loss(batch, generator=self.generator.manual_seed(seed)).loss.backward()
        clip = self.settings.max_gradient_norm
        if step_if_finite(self.optimizer, self.parameters, max_gradient_norm=clip).stepped:
            self.model.update_averages()
        self.done += 1


class OtherProcess:
    """A `BareLoop` in a process of its own."""

    _loop: BareLoop  # there

    def __init__(self, facts: dict[str, Any], batches: list[Any]) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self._pool.submit(_build, facts, batches).result()

    def rate(self, updates: int) -> float:
        return self._pool.submit(_rate, updates).result()

    def close(self) -> None:
        self._pool.shutdown()


def _build(facts: dict[str, Any], batches: list[Any]) -> None:
    OtherProcess._loop = BareLoop(facts, batches)


def _rate(updates: int) -> float:
    return OtherProcess._loop.rate(updates)


class WholePath:
    """`algorithm.train()`, the CPU time that other processes (Ray's) took meanwhile, and that of a learner at rest."""

    def __init__(self, algorithm: Any, updates: int) -> None:
        self.algorithm, self.updates = algorithm, updates
        self.beside_s: list[float] = []
        self.at_rest: list[float] = []

    def rate(self) -> float:
        before, began = others_cpu_s(), time.perf_counter()
        self.algorithm.train()
        seconds = time.perf_counter() - began
        self.beside_s.append(others_cpu_s() - before)
        return self.updates / seconds

    def after_rest(self, run: Callable[[], float]) -> Callable[[], float]:
        def rested() -> float:
            self.at_rest.append(settle())
            return run()

        return rested

    @property
    def note(self) -> str:
        beside_ms = 1e3 * statistics.median(self.beside_s[1:]) / self.updates
        return (
            f"{self.updates} updates a piece, beside them {beside_ms:.2f} CPU-ms an update in Ray's processes; "
            f"the learner at rest takes {statistics.median(self.at_rest[1:]):.2f} of a core"
        )


@contextmanager
def small_ray(store_bytes: int = STORE_BYTES) -> Iterator[None]:
    """A Ray of two CPUs and a small object store, for this process alone."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(address="local", num_cpus=2, object_store_memory=store_bytes, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        join_pipeline_threads()
        ray.shutdown()


def settle() -> float:
    """Waits until the processes below this one rest; returns the share of a core that this one takes even then.

    Raises:
        RuntimeError: They never rest.
    """
    deadline = time.perf_counter() + GIVE_UP_S
    while time.perf_counter() < deadline:
        before, own = others_cpu_s(), time.process_time()
        time.sleep(IDLE_S)
        own = time.process_time() - own
        if others_cpu_s() - before < IDLE_CORES * IDLE_S:
            return own / IDLE_S
    raise RuntimeError(f"Ray's processes were still at work after {GIVE_UP_S} s in which nothing was asked of them")


def others_cpu_s() -> float:
    """CPU time of the living processes below this one."""
    import psutil  # Ray brings it along

    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def ratio(dataset: Path, ingest: IngestSettings, *, batches: int, seconds: float, pairs: int) -> Measurement:
    """Of one world in one ingest mode; ``batches`` lie in memory for the bare loop."""
    config = ActionableModelsConfig().dataset(str(dataset), ingest)
    facts: Any = config.get_default_rl_module_spec().model_config
    bare = OtherProcess(facts, _in_memory(dataset, ingest, batches))
    bare.rate(3)
    updates = max(10, round(seconds * statistics.median(bare.rate(5) for _ in range(3))))
    algorithm = config.training(updates_per_iteration=updates).build_algo()
    try:
        whole = WholePath(algorithm, updates)
        ours, theirs = whole.after_rest(whole.rate), whole.after_rest(lambda: bare.rate(updates))
        found = paired_ratio(ours, theirs, pairs=pairs, unit=" updates/s")
    finally:
        algorithm.stop()
        bare.close()
    return dataclasses.replace(found, note=f"{found.note}; {whole.note}")


def _in_memory(dataset: Path, ingest: IngestSettings, count: int) -> list[Any]:
    """Batches of the dataset; reading it fills the decoded cache."""
    resident, settings = dataclasses.replace(ingest, mode="resident"), AlgorithmSettings()
    size = settings.optimization.batch_size
    source = open_ingest(dataset, None, settings.drawn_goals, resident, batch_size=size, seed=0)[0]
    return list(islice(source.batches(), count))


def measure(quick: bool) -> dict[str, Measurement]:
    torch.set_num_threads(1)
    state, image = (5.0, 8.0) if quick else (6.0, 10.0)
    state_pairs, image_pairs = (3, 2) if quick else (5, 5)
    with small_ray(), tempfile.TemporaryDirectory() as cache:
        states, images = state_data(), image_data()
        streaming, resident = IngestSettings(mode="streaming"), IngestSettings(mode="resident")
        cached = IngestSettings(mode="streaming", decoded_cache=cache)
        return {
            "path_ratio_state": ratio(states, streaming, batches=16, seconds=state, pairs=state_pairs),
            "path_ratio_state_resident": ratio(states, resident, batches=16, seconds=state, pairs=state_pairs),
            "path_ratio_image": ratio(images, cached, batches=4, seconds=image, pairs=image_pairs),
        }


if __name__ == "__main__":
    main(measure, __doc__)
