"""`finetune`: checks everything first, writes the labelled subsets, runs the cells on Ray Tune, records what came out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from am_ray.finetuning.cells import LEARNS_BESIDE, Cell, plan_cells, subset_path, subset_size
from am_ray.finetuning.results import write_results
from am_ray.settings_reader import settings_sha256, to_mapping
from am_ray.study_settings import FinetuneSettings, StudySettings
from am_ray.types import CheckpointError, SettingsError

if TYPE_CHECKING:
    from am_ray.data.reader import TrajectoryDataset
    from am_ray.tracking import RunTracker
    from am_ray.trials import Trial, TrialResult

logger = logging.getLogger(__name__)

Resume = Literal["auto", "must", "never"]


@dataclass(frozen=True)
class FinetuneResult:
    """What a study left behind.

    Attributes:
        folder: Of the study.
        results: The path of ``results.json``.
        failed: Names of cells that failed.
        stopped_by: Number of the signal that stopped it early, or None; then ``results.json`` is of the cells that ended.
    """

    folder: Path
    results: Path
    failed: tuple[str, ...]
    stopped_by: int | None = None


@dataclass(frozen=True)
class Study:
    """A study that was found to be possible.

    Attributes:
        settings: With everything filled in that follows from the data.
        cells: All of them.
        environment: In which the cells are evaluated, ``{"id": ..., "kwargs": ...}``.
        labelled: The data that each cell's episodes are drawn from.
        fulfils: Which of their episodes fulfil the task.
    """

    folder: Path
    settings: StudySettings
    cells: list[Cell]
    environment: dict[str, Any]
    labelled: TrajectoryDataset
    fulfils: list[bool]


def prepare(settings: StudySettings, *, run_name: str, storage: str | Path = "runs") -> Study:
    """Checks a study before anything expensive begins; nothing is written.

    Raises:
        SettingsError: Something is missing, or the environment's task cannot be told.
        DatasetError: The labelled data are too few, without a success, or damaged.
        CheckpointError: The pre-trained weights do not fit.
    """
    from am_ray.data.labelled import check_labelled
    from am_ray.data.reader import read_dataset

    folder = Path(storage) / run_name
    finetune = settings.finetune
    if not finetune.labelled:
        raise SettingsError(
            "finetune.labelled: not given; expected a dataset with labels (next.success). Set it, or pass --dataset."
        )
    dataset = read_dataset(finetune.labelled)
    labels = check_labelled(dataset, settings.task)
    if max(finetune.episodes) > dataset.num_episodes:
        raise SettingsError(
            f"finetune.episodes: got {max(finetune.episodes)}; expected at most {dataset.num_episodes}, the episodes of "
            f"{finetune.labelled}. Collect more, or ask for fewer."
        )
    settings = replace(settings, finetune=_with_unlabelled(finetune))
    environment = _environment(settings, dataset)
    settings = replace(settings, evaluation=replace(settings.evaluation, tasks=_tasks(settings, dataset, environment)))
    cells = plan_cells(settings, folder)
    _check_starts(cells, finetune.labelled)
    return Study(folder, settings, cells, environment, dataset, labels.fulfils.tolist())


def finetune(
    study: Study,
    *,
    resume: Resume = "auto",
    tracked: bool = True,
    on_result: Callable[[TrialResult], None] | None = None,
) -> FinetuneResult:
    """Trains and evaluates every cell that has not ended yet; the same call goes on with a study that was stopped.

    Args:
        study: From `prepare`.
        resume: ``must`` insists on a study that was begun, ``never`` on one that was not.
        tracked: Whether cells log to MLflow (through files; `am_ray.tracking.sending` sends them).
        on_result: Called when a cell has ended.

    Raises:
        SettingsError: The study was begun with other settings, or may not be begun or resumed.
        FolderInUseError: Another process works on it.
    """
    from am_ray.stopping import StopRequest
    from am_ray.trials import check_trials, run_trials, study_folder

    folder = study.folder
    _check_resume(folder, resume)
    # Until the folder is ours, and the trials are those that it holds, nothing is written that says otherwise.
    with study_folder(folder) as held:
        digests = _write_subsets(study)
        trials = [trial_of(cell, study, digests) for cell in study.cells]
        check_trials(trials, folder)
        (folder / "settings.yaml").write_text(yaml.safe_dump(to_mapping(study.settings), sort_keys=False))
        tracker = _open_tracker(study) if tracked else None
        stop = StopRequest()
        try:
            ended = run_trials(
                trials,
                folder=held,
                stage="finetune",
                max_concurrent=study.settings.finetune.max_concurrent,
                max_failures=study.settings.finetune.max_failures,
                on_result=on_result,
                stop=stop,
                tracked=tracked,
            )
            results = write_results(study, digests, ended)
        except BaseException as error:
            if tracker is not None:
                tracker.end("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        failed = tuple(result.name for result in ended if result.status == "failed")
        if tracker is not None:
            _track_end(tracker, ended, stopped=stop.signal is not None, failed=bool(failed))
    return FinetuneResult(folder, results, failed, stop.signal)


def trial_of(cell: Cell, study: Study, digests: dict[tuple[int, int], str]) -> Trial:
    """The cell as a trial, with what MLflow's run table is filtered by."""
    from am_ray.trials import Trial

    tags = {
        "arm": cell.arm,
        "episodes": str(cell.episodes),
        "seed": str(cell.seed),
        "dataset.digest": digests[cell.episodes, cell.seed],
        "config.sha256": settings_sha256(cell.settings),
    }
    if cell.settings.task.initial:
        tags["pretrained_from"] = cell.settings.task.initial
    return Trial(cell.name, cell.settings, study.settings.evaluation, tags)


def _open_tracker(study: Study) -> RunTracker:
    """The study's own run, the parent of its cells'."""
    from am_ray.tracking import RunTracker

    tags = {"dataset.digest": study.labelled.digest, "config.sha256": settings_sha256(study.settings)}
    if study.settings.finetune.pretrained:
        tags["pretrained_from"] = study.settings.finetune.pretrained
    tracker = RunTracker.open(study.folder, name=study.folder.name, stage="finetune", tags=tags)
    tracker.params(to_mapping(study.settings))
    labelled = study.settings.finetune.labelled
    tracker.dataset(name=Path(labelled).name, digest=study.labelled.digest, source=labelled, context="labelled")
    return tracker


def _track_end(tracker: RunTracker, ended: Sequence[TrialResult], *, stopped: bool, failed: bool) -> None:
    """The best cell's checkpoint under its alias, and how the study ended (a comparison may open the run again)."""
    from am_ray.trials.trial import SUCCESS_RATE

    rated = [result for result in ended if result.checkpoint is not None and SUCCESS_RATE in result.metrics]
    if rated:
        best = max(rated, key=lambda result: result.metrics[SUCCESS_RATE])
        tracker.best_checkpoint(Path(str(best.checkpoint)), metric=SUCCESS_RATE, value=best.metrics[SUCCESS_RATE])
    tracker.end("KILLED" if stopped else "FAILED" if failed else "FINISHED")


def _with_unlabelled(finetune: FinetuneSettings) -> FinetuneSettings:
    """Unless told otherwise, the auxiliary arm learns beside the data that the pre-trained arm was trained on."""
    learns_beside = any(arm in LEARNS_BESIDE for arm in finetune.arms)
    if finetune.unlabelled or not learns_beside or not finetune.pretrained:
        return finetune
    from am_ray.models.checkpoint import find_checkpoint, read_checkpoint

    return replace(finetune, unlabelled=read_checkpoint(find_checkpoint(finetune.pretrained)).origin["dataset"]["path"])


def _environment(settings: StudySettings, dataset: TrajectoryDataset) -> dict[str, Any]:
    recorded, asked = dataset.info.env or {}, settings.evaluation
    if asked.env and asked.env != recorded.get("id"):
        return {"id": asked.env, "kwargs": dict(asked.env_kwargs)}
    if not recorded:
        raise SettingsError(
            f"evaluation.env: not given, and {dataset.storage.name} does not say which environment made it; expected a "
            f"Gymnasium id. Set it, or pass --env."
        )
    return {"id": recorded["id"], "kwargs": {**recorded.get("kwargs", {}), **asked.env_kwargs}}


def _tasks(settings: StudySettings, dataset: TrajectoryDataset, environment: dict[str, Any]) -> tuple[str, ...]:
    """The one task to evaluate: the settings', or that which the tray's recipe labelled; elsewhere the environment's own."""
    if settings.evaluation.tasks:
        if len(settings.evaluation.tasks) > 1:
            raise SettingsError(
                f"evaluation.tasks: got {list(settings.evaluation.tasks)}; expected one, the task that the labels are of. "
                f"Name that one."
            )
        return settings.evaluation.tasks
    if not environment["id"].startswith("am_ray/"):
        return ()
    named = {task for tasks in dataset.episodes["tasks"] for task in tasks}
    if len(named) != 1:
        raise SettingsError(
            f"evaluation.tasks: not given, and {dataset.storage.name} has the tasks {sorted(named)}; expected the one that "
            f"the labels are of. Name it, such as grasp_box."
        )
    return (named.pop(),)


def _check_starts(cells: list[Cell], labelled: str) -> None:
    """Whether each arm's weights and data fit, found out on the whole labelled set before any subset is written."""
    from am_ray.algorithm.fitting import check_fits
    from am_ray.algorithm.offline_data import dataset_facts
    from am_ray.algorithm.task_start import task_start
    from am_ray.data.ingest import check_same_shape

    facts = dataset_facts(labelled)
    for arm in dict.fromkeys(cell.arm for cell in cells):
        settings = next(cell.settings for cell in cells if cell.arm == arm)
        try:
            task_start(labelled, settings.task, settings.algorithm)
            check_fits(facts, settings.algorithm)
            if settings.task.auxiliary:
                check_same_shape(labelled, settings.task.auxiliary)
        except CheckpointError as error:
            raise CheckpointError(f"arm {arm}: {error}") from error


def _check_resume(folder: Path, resume: Resume) -> None:
    begun = (folder / "trials").exists()
    if resume == "must" and not begun:
        raise SettingsError(f"{folder}: no study to resume. Use --resume auto, or another --run-name.")
    if resume == "never" and begun:
        raise SettingsError(f"{folder}: already holds a study. Use --resume auto, or another --run-name.")


def _write_subsets(study: Study) -> dict[tuple[int, int], str]:
    from am_ray.data.labelled import draw_episodes, write_subset

    digests = {}
    for episodes, seed in dict.fromkeys((cell.episodes, cell.seed) for cell in study.cells):
        chosen = draw_episodes(study.labelled.num_episodes, subset_size(episodes), seed)
        digests[episodes, seed] = write_subset(study.labelled, chosen, subset_path(study.folder, episodes, seed))
    return digests
