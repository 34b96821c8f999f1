"""Actionable Models as an RLlib Algorithm, and so as a Tune trainable, with checkpoints of our own format."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.learner.training_data import TrainingData

from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.algorithm.learner import ObjectiveLearner
from am_ray.models.checkpoint import Checkpoint, find_checkpoint, read_checkpoint, write_checkpoint
from am_ray.settings import IngestSettings, PretrainSettings, ResourceSettings, TaskSettings
from am_ray.settings_reader import read_settings, to_mapping
from am_ray.types import CheckpointError

# Between two slices of an iteration the driver looks whether it was asked to stop.
_SLICE_S = 2.0


class ActionableModels(Algorithm):
    """Trains the objective that ``config.method`` names. One iteration is ``updates_per_iteration`` updates.

    RLlib's own restore crashes for every purely offline algorithm (no EnvRunner group) and writes pickles;
    `save_to_path` and `restore_from_path`, and with them Tune's fault tolerance and PBT, go through
    `am_ray.models.checkpoint` instead.
    """

    # RLlib annotates these as optional, or as its base classes.
    config: Any
    learner_group: Any
    metrics: Any
    offline_data: Any
    env_runner_group: Any

    _num_updates = 0
    _updates_per_s = 0.0
    _stop_requested = False

    @classmethod
    def get_default_config(cls) -> ActionableModelsConfig:
        return ActionableModelsConfig()

    def setup(self, config: Any) -> None:
        # Kept from the start: checkpoints tell what was trained on, whatever happens to the path meanwhile.
        self._facts = config.facts()
        super().setup(config)

    @property
    def num_updates(self) -> int:
        """Updates done since training began, over all resumes."""
        return self._num_updates

    def request_stop(self) -> None:
        """Ends the current iteration within about two seconds; safe to call from a signal handler."""
        self._stop_requested = True

    @property
    def ingest_mode(self) -> str:
        return str(self.offline_data.mode)

    def training_step(self) -> None:
        """Updates up to the next multiple of ``updates_per_iteration``, in slices of about two seconds."""
        per_iteration = self.config.updates_per_iteration
        goal = (self._num_updates // per_iteration + 1) * per_iteration
        if self.config.max_updates is not None:
            goal = min(goal, self.config.max_updates)
        sources = self.offline_data.sample(self.config.batch_size, num_shards=self.config.num_learners)
        started, before = time.perf_counter(), self._num_updates
        while self._num_updates < goal:
            # The first slice is short: it finds out how long an update takes.
            count = min(max(10, int(_SLICE_S * self._updates_per_s)), goal - self._num_updates)
            self._update(sources, count, log=self._num_updates + count == goal)
            self._updates_per_s = (self._num_updates - before) / (time.perf_counter() - started)
            if self._stop_requested:
                break
        self.metrics.log_value(("train", "updates"), self._num_updates, window=1)
        self.metrics.log_value(("train", "updates_per_s"), self._updates_per_s, window=1)

    def _update(self, sources: list[Any], count: int, *, log: bool) -> None:
        data = TrainingData(data_iterators=sources)
        results = self.learner_group.update(training_data=data, num_iters=count, log=log)
        self.metrics.aggregate(results)
        self._num_updates += count

    def checkpoint(self) -> Checkpoint:
        """Everything a resumed run needs, as plain arrays (learners hold equal weights; the first one's are taken)."""
        facts = self._facts
        state = self._foreach_learner(lambda learner: learner.training_state())[0]
        origin = {
            "seed": self.config.seed or 0,
            "num_learners": self.config.num_learners,
            "dataset": {"path": self.config.input_[0], "digest": facts.digest, "environment": facts.environment},
            "ingest": to_mapping(self.config.ingest_settings()),
        }
        task, start = self.config.task_settings(), self.config.task_start()
        if task is not None:
            origin |= {"task": to_mapping(task), "pretrained_from": start.origin}
        return Checkpoint(facts.spec, facts.statistics, self.config.algorithm_settings(), state, origin)

    def load(self, checkpoint: Checkpoint, where: str) -> None:
        """Puts every learner into the checkpoint's state; the data continue where they were.

        Raises:
            CheckpointError: It is of data of another shape, or of another network.
        """
        spec = self._facts.spec
        if checkpoint.spec != spec:
            raise CheckpointError(
                f"{where}: trained on data of {checkpoint.spec}; the dataset {self.config.input_[0]} is {spec}. "
                f"Continue on the dataset it was trained on."
            )
        state = ray.put(checkpoint.state) if self.learner_group.is_remote else checkpoint.state
        self._foreach_learner(_load_state, state=state, where=where)
        self._num_updates = checkpoint.state.update

    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:
        """Writes a checkpoint of our format into the directory ``path``; Tune calls this through ``save_checkpoint``."""
        if path is None:
            raise CheckpointError("save_to_path: no path; expected a local directory. Name one.")
        Path(path).mkdir(parents=True, exist_ok=True)
        write_checkpoint(path, self.checkpoint())
        return str(path)

    def restore_from_path(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Loads a checkpoint directory, or the newest valid one of a run; Tune calls this through ``load_checkpoint``.

        Raises:
            CheckpointError: There is none, it is torn, or it does not fit.
        """
        directory = find_checkpoint(path)
        self.load(read_checkpoint(directory), str(directory))

    @classmethod
    def from_checkpoint(cls, path: str | Path, *, dataset: str | None = None, **kwargs: Any) -> Self:  # type: ignore[override]
        """A new algorithm in the state of a checkpoint.

        Args:
            path: Checkpoint or run directory.
            dataset: Where the dataset is now; the recorded path otherwise.
            **kwargs: Not used; RLlib passes options of its own format.
        """
        directory = find_checkpoint(path)
        checkpoint = read_checkpoint(directory)
        origin = checkpoint.origin
        settings = PretrainSettings(
            dataset=dataset or origin["dataset"]["path"],
            seed=origin["seed"],
            algorithm=checkpoint.settings,
            task=read_settings(TaskSettings, origin.get("task", {}), str(directory)),
            ingest=read_settings(IngestSettings, origin["ingest"], str(directory)),
            resources=ResourceSettings(num_learners=origin["num_learners"]),
        )
        algorithm = cls(ActionableModelsConfig.from_settings(settings))
        algorithm.load(checkpoint, str(directory))
        return algorithm

    def set_state(self, state: dict[str, Any]) -> None:
        """RLlib's own, with a stand-in for the EnvRunners that an offline algorithm does not have."""
        group, self.env_runner_group = self.env_runner_group, self.env_runner_group or _NoEnvRunners()
        try:
            super().set_state(state)
        finally:
            self.env_runner_group = group
        self._num_updates = self._foreach_learner(lambda learner: learner.training_state().update)[0]

    def cleanup(self) -> None:
        super().cleanup()
        if self._storage is None:
            # Outside of Tune every trainable gets a folder below ~/ray_results; this one stays empty.
            with suppress(OSError):
                Path(self.logdir).rmdir()

    def _foreach_learner(self, function: Any, **kwargs: Any) -> list[Any]:
        return [result.get() for result in self.learner_group.foreach_learner(function, **kwargs)]


class _NoEnvRunners:
    """Answers the calls that RLlib's restore makes without looking whether there is an EnvRunner group."""

    def sync_weights(self, **kwargs: Any) -> None:
        """Nothing to sync."""

    def sync_env_runner_states(self, **kwargs: Any) -> None:
        """Nothing to sync."""

    def num_remote_env_runners(self) -> int:
        return 0


def _load_state(learner: ObjectiveLearner, state: Any, where: str) -> None:
    learner.load_training_state(ray.get(state) if isinstance(state, ray.ObjectRef) else state, where)
