"""Transitions per second out of the streaming pipeline, with nothing consuming but a counter.

`open_ingest` in ``streaming`` mode with its default settings, batches of 256 taken as fast as they come, their contents not looked at.
Readers verify Parquet's page checksums, relabel and gather; blocks travel through Ray's object store. `ingest_rate_state`: 20,000
episodes of 21-d states. `ingest_rate_image`: 400 episodes of 64 px images (three images a transition, 37 kB), from the decoded cache:
PNGs are decoded in the first epoch only, which is not timed.

Not timed either: Ray's start and the first batches. Then pieces follow one another without a pause, so that no piece lives on what was
prefetched before; a pipeline of 512 windows that ends on the way is begun anew inside a piece. The longest time that the counter waited
for a batch is in the note, as is the CPU time of all processes for a million transitions. Ray has two CPUs, its object store 1 GiB.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from am_ray.data.ingest import open_ingest
from am_ray.data.reader import read_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from benchmarks.measurement import Measurement, main, median_of
from benchmarks.path_ratio import others_cpu_s, small_ray
from benchmarks.worlds import image_data, state_data

BATCH = 256
# Blocks grow with the store; by default Ray takes 30 % of the machine's memory for it.
STORE_BYTES = 1 << 30


class Counter:
    """Takes batches, and remembers its longest wait."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches
        self.longest_wait_s = 0.0

    def take(self, transitions: int) -> None:
        taken = 0
        while taken < transitions:
            taken += self._next()

    def rate(self, seconds: float) -> float:
        """Transitions per second over so many seconds."""
        taken, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            taken += self._next()
        return taken / passed

    def _next(self) -> int:
        began = time.perf_counter()
        batch = next(self.batches)
        self.longest_wait_s = max(self.longest_wait_s, time.perf_counter() - began)
        return len(batch["source"])


def ingest_rate(dataset: Path, ingest: IngestSettings, *, warm_up: int, pieces: int, seconds: float) -> Measurement:
    """After ``warm_up`` transitions, over pieces of so many seconds."""
    source = open_ingest(dataset, None, RelabelSettings(), ingest, batch_size=BATCH, seed=0)[0]
    batches: Any = source.batches()
    with closing(batches):
        counter = Counter(batches)
        counter.take(warm_up)
        counter.longest_wait_s, before = 0.0, others_cpu_s() + time.process_time()
        rates = [counter.rate(seconds) for _ in range(pieces)]
        cpu_s = others_cpu_s() + time.process_time() - before
    per_million = 1e6 * cpu_s / (seconds * sum(rates))
    note = f"longest wait {counter.longest_wait_s:.2f} s; {per_million:.1f} CPU-s for a million"
    return median_of(rates, note)


def measure(quick: bool) -> dict[str, Measurement]:
    pieces, seconds = (3, 4.0) if quick else (5, 5.0)
    states, images = state_data(), image_data()
    epoch = read_dataset(images).num_transitions
    with small_ray(STORE_BYTES), tempfile.TemporaryDirectory() as cache:
        streaming = IngestSettings(mode="streaming")
        cached = IngestSettings(mode="streaming", decoded_cache=cache)
        return {
            "ingest_rate_state": ingest_rate(states, streaming, warm_up=400_000, pieces=pieces, seconds=seconds),
            "ingest_rate_image": ingest_rate(images, cached, warm_up=3 * epoch, pieces=pieces, seconds=seconds),
        }


if __name__ == "__main__":
    main(measure, __doc__)
