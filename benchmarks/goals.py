"""What is measured, in which unit, and what we want of it: the rows of the table that ``make bench`` prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A figure's unit and bound; with neither bound it is only reported."""

    unit: str
    meaning: str
    at_least: float | None = None
    at_most: float | None = None

    def verdict(self, value: float) -> str:
        if self.at_least is not None:
            return "met" if value >= self.at_least else "missed"
        if self.at_most is not None:
            return "met" if value <= self.at_most else "missed"
        return "reported"

    @property
    def text(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else "-"


GOALS = {
    "path_ratio_state": Goal("", "updates/s of Parquet -> Ray Data -> Learner over a bare loop, states", at_least=0.9),
    "path_ratio_image": Goal("", "the same with 64 px images", at_least=0.9),
    "path_ratio_state_resident": Goal("", "the same with the shard in the learner's memory, states", at_least=0.9),
    "relabel_rate": Goal("transitions/s", "relabel + gather, one core, 21-d state", at_least=2e6),
    "relabel_ratio": Goal("", "relabel_rate over an OGBench-style sampler of batches of 256", at_least=1.0),
    "ingest_rate_state": Goal("transitions/s", "out of the streaming pipeline into a counter, states", at_least=0.5e6),
    "ingest_rate_image": Goal("transitions/s", "the same, 64 px images from the decoded cache", at_least=20e3),
    "rllib_ratio": Goal("", "transitions/s into the Learner over RLlib's OfflinePreLearner", at_least=20.0),
    "memory_ratio": Goal("", "peak memory, data 10x the object store over data that fit", at_most=1.1),
    "learners_2": Goal("", "transitions trained per second, two learners over one", at_least=1.5),
    "first_update_s": Goal("s", "'am-ray pretrain' started to first update done", at_most=20.0),
    "help_s": Goal("s", "'am-ray --help'", at_most=0.5),
    "import_s": Goal("s", "'import am_ray' in a fresh Python, beyond Python's own start", at_most=0.3),
    "sim_rate": Goal("steps/CPU-s", "Panda with a 64 px camera", at_least=120.0),
    "cem_ms": Goal("ms", "one action by CEM, 64 samples x 3 iterations, states"),
    "cem_ms_image": Goal("ms", "the same, 64 px images"),
}
