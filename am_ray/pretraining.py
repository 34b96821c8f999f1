"""Pre-training from a settings object to a run directory: metrics, checkpoints, exact resume, a clean stop on signals.

runs/<run_name>/
    settings.yaml              resolved settings
    metrics.jsonl              one line per iteration
    checkpoint-000000500/      see am_ray.models.checkpoint
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from am_ray.ray_session import ray_session
from am_ray.run_directory import RunDirectory
from am_ray.settings import PretrainSettings, TrainingSettings
from am_ray.stopping import StopRequest, stop_on_signals
from am_ray.tracking.run_tracker import RunTracker
from am_ray.tracking.training_log import TrainingLog
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.algorithm.algorithm import ActionableModels

logger = logging.getLogger(__name__)

Resume = Literal["auto", "must", "never"]


@dataclass(frozen=True)
class PretrainProgress:
    """Where training stands after an iteration.

    Attributes:
        update: Updates done, over all resumes.
        total: Updates to do.
        updates_per_s: Of the last iteration.
        ingest_mode: ``resident`` or ``streaming``.
        metrics: ``group/name`` to value, means over the iteration.
        save: Writes a checkpoint of these weights, unless there is one, and returns its folder.
    """

    update: int
    total: int
    updates_per_s: float
    ingest_mode: str
    metrics: dict[str, float]
    save: Callable[[], Path] = field(repr=False, compare=False)


@dataclass(frozen=True)
class PretrainResult:
    """What a call of `pretrain` left behind.

    Attributes:
        run_dir: Settings, metrics and checkpoints.
        checkpoint: The newest checkpoint.
        update: Updates done, over all resumes.
        resumed_from: Update at which this call began.
        ingest_mode: ``resident`` or ``streaming``; empty if there was nothing left to do.
        metrics: Of the last iteration; empty if there was nothing left to do.
        stopped_by: Number of the signal that stopped training early (exit code: 128 plus it), or None.
    """

    run_dir: Path
    checkpoint: Path
    update: int
    resumed_from: int
    ingest_mode: str
    metrics: dict[str, float]
    stopped_by: int | None = None


def smoke_test(settings: PretrainSettings) -> PretrainSettings:
    """The same settings for a handful of updates: does everything fit together?"""
    short = replace(settings.training, updates=20, updates_per_iteration=10, checkpoint_every=10)
    return replace(settings, training=short)


def pretrain(
    settings: PretrainSettings,
    *,
    run_name: str,
    storage: str | Path = "runs",
    resume: Resume = "auto",
    on_progress: Callable[[PretrainProgress], None] | None = None,
    stop: StopRequest | None = None,
    tracker: RunTracker | None = None,
) -> PretrainResult:
    """Trains until ``settings.training.updates``, or until SIGINT or SIGTERM, which save a checkpoint first.

    Ray is started (locally, unless it runs already or RAY_ADDRESS is set) only if learners or streaming need it.

    Args:
        settings: What to train on, and how.
        run_name: Directory below ``storage``.
        storage: Local directory that holds runs.
        resume: ``auto`` continues the run's newest valid checkpoint if there is one; ``must`` insists on one;
            ``never`` refuses a run that has one.
        on_progress: Called after every iteration.
        stop: Another way to stop than a signal: like one, it saves a checkpoint first.
        tracker: Of the run's folder; told everything once the run may begin.

    Raises:
        DatasetError: The dataset is damaged, or not the one that the run began with.
        SettingsError: The settings are not those of the run that is to be resumed.
        CheckpointError: ``resume`` is ``must`` and there is no valid checkpoint, or it does not fit.
        NonFiniteTrainingError: Too many updates in a row had a NaN; names the last good checkpoint.
    """
    if not settings.dataset:
        raise SettingsError("dataset: empty; expected the directory of a dataset. Set it, or pass --dataset.")
    from am_ray.algorithm.fitting import check_fits
    from am_ray.algorithm.offline_data import dataset_facts
    from am_ray.algorithm.task_start import task_start

    run = RunDirectory(Path(storage) / run_name)
    facts = dataset_facts(settings.dataset, settings.ingest.skip_bad_files)
    check_fits(facts, settings.algorithm)
    if settings.algorithm.method == "task_critic":
        # Weights that do not fit are found out before anything is written; the start is cached for the learners.
        task_start(settings.dataset, settings.task, settings.algorithm, settings.ingest.skip_bad_files)
    start = run.begin(settings, facts.digest, resume)
    with TrainingLog(tracker, run.path) as log:
        log.begin(settings, facts.digest)
        if start is not None and start.update >= settings.training.updates:
            logger.info("%s: already at update %d of %d", run.path, start.update, settings.training.updates)
            return PretrainResult(run.path, start.directory, start.update, start.update, "", {})
        with _torch_threads_kept(), _algorithm(settings) as algorithm:
            if start is not None:
                algorithm.restore_from_path(start.directory)
                logger.info("%s: resumed at update %d", run.path, start.update)
            result = _train(algorithm, settings, run, _also_logged(on_progress, log), stop)
        log.stopped = result.stopped_by is not None
        return result


def _also_logged(
    on_progress: Callable[[PretrainProgress], None] | None, log: TrainingLog
) -> Callable[[PretrainProgress], None]:
    def tell(progress: PretrainProgress) -> None:
        log.iteration(progress.update, progress.metrics)
        if on_progress is not None:
            on_progress(progress)

    return tell


def _train(
    algorithm: ActionableModels,
    settings: PretrainSettings,
    run: RunDirectory,
    on_progress: Callable[[PretrainProgress], None] | None,
    stop: StopRequest | None,
) -> PretrainResult:
    total = settings.training.updates
    saver = _Saver(algorithm, run, settings.training)
    mode = algorithm.ingest_mode
    logger.info("ingest: %s; updates %d to %d", mode, algorithm.num_updates, total)
    begin, metrics, began = algorithm.num_updates, {}, time.perf_counter()
    ends = began + 60.0 * settings.training.max_minutes if settings.training.max_minutes else math.inf
    with stop_on_signals(algorithm.request_stop, stop) as request:
        while algorithm.num_updates < total and request.signal is None and time.perf_counter() < ends:
            metrics = _numbers(_train_once(algorithm, run), is_cut=request.signal is not None)
            update = algorithm.num_updates
            run.append_metrics({"update": update, "seconds": time.perf_counter() - began} | metrics)
            if saver.is_due or update >= total or request.signal is not None:
                saver.save()
            if on_progress is not None:
                speed = metrics["train/updates_per_s"]
                on_progress(PretrainProgress(update, total, speed, mode, metrics, saver.save))
        directory = saver.save()
    return PretrainResult(run.path, directory, algorithm.num_updates, begin, mode, metrics, request.signal)


class _Saver:
    """Writes checkpoints of an algorithm into its run; one of each update, whoever asks."""

    def __init__(self, algorithm: ActionableModels, run: RunDirectory, settings: TrainingSettings) -> None:
        self._algorithm, self._run, self._settings = algorithm, run, settings
        self._saved_at = algorithm.num_updates
        self._directory: Path | None = None

    @property
    def is_due(self) -> bool:
        every = self._settings.checkpoint_every
        return self._algorithm.num_updates // every > self._saved_at // every

    def save(self) -> Path:
        if self._directory is None or self._saved_at != self._algorithm.num_updates:
            self._saved_at = self._algorithm.num_updates
            self._directory = self._run.save(self._algorithm.checkpoint(), keep=self._settings.keep_checkpoints)
        return self._directory


def _train_once(algorithm: ActionableModels, run: RunDirectory) -> dict[str, Any]:
    from am_ray.algorithm.learner import NonFiniteTrainingError

    try:
        result: dict[str, Any] = algorithm.train()
    except Exception as error:
        # From a remote learner the error arrives wrapped in Ray's, which also derives from its cause.
        if isinstance(error, NonFiniteTrainingError):
            raise NonFiniteTrainingError(f"{error.args[0]} {run.last_good()}") from error
        raise
    return result


@contextmanager
def _algorithm(settings: PretrainSettings) -> Iterator[ActionableModels]:
    """The built algorithm, and Ray around it where something needs it; both are gone afterwards."""
    from am_ray.algorithm.config import ActionableModelsConfig

    # RLlib warns about itself here: its new default stack, and its own deprecated calls.
    for name in ("ray.rllib", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    config = ActionableModelsConfig.from_settings(settings)
    # Learners hold their CPUs for good; the driver and the readers need some beside them, or readers wait for ever.
    learner_cpus = settings.resources.num_learners * settings.resources.num_cpus_per_learner
    session = (
        ray_session(num_cpus=max(os.cpu_count() or 1, int(learner_cpus) + 2)) if config.needs_ray() else nullcontext()
    )
    with session:
        algorithm = cast("ActionableModels", config.build_algo())
        try:
            yield algorithm
        finally:
            algorithm.stop()


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """A local learner sets the number of torch threads of this process; a caller gets its own back."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _numbers(result: dict[str, Any], *, is_cut: bool) -> dict[str, float]:
    """The ``group/name`` metrics of an RLlib result; of an iteration that was cut short those that were measured, for RLlib gives NaN for the others."""
    groups = ("train", "critic", "cloning", "proposal", "data")
    numbers = {
        f"{group}/{name}": float(value)
        for group in groups
        for name, value in sorted(result.get(group, {}).items())
        if not isinstance(value, dict)
    }
    return {name: value for name, value in numbers.items() if not (is_cut and math.isnan(value))}


def describe_progress(progress: PretrainProgress) -> str:
    """One line for logs."""
    values = json.dumps({name: round(value, 4) for name, value in progress.metrics.items()})
    return f"update {progress.update}/{progress.total} {progress.updates_per_s:.1f}/s {progress.ingest_mode} {values}"
