"""`run_sweep`: the trials of a plan, and what is left of them: tables, a picture, an MLflow run with children."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.settings_reader import settings_sha256, to_mapping
from am_ray.stopping import StopRequest
from am_ray.sweep.figures import write_figure
from am_ray.sweep.plan import SweepPlan, begin, may_begin
from am_ray.sweep.results import best_trial, groups, to_csv, to_json
from am_ray.trials import TrialResult, check_trials, run_trials, study_folder
from am_ray.trials.data_identity import data_identity

if TYPE_CHECKING:
    from am_ray.tracking import RunTracker
    from am_ray.trials.folder_lock import HeldFolder


@dataclass(frozen=True)
class SweepOutcome:
    """What a call of `run_sweep` left behind.

    Attributes:
        folder: ``results.csv``, ``results.json``, ``sweep.png`` (where there is one), ``trials``.
        results: Of the trials that have ended, in the plan's order.
        best: Name of the best one.
        stopped_by: Number of the signal that stopped it early (exit code: 128 plus it), or None.
    """

    folder: Path
    results: tuple[TrialResult, ...]
    best: str | None
    stopped_by: int | None


def run_sweep(
    plan: SweepPlan,
    *,
    run_name: str,
    storage: str | Path = "runs",
    resume: str = "auto",
    tracked: bool = True,
    tracking_uri: str | None = None,
    on_result: Callable[[TrialResult], None] | None = None,
    stop: StopRequest | None = None,
) -> SweepOutcome:
    """Runs what is left of a sweep; the same call goes on with one that was interrupted.

    Args:
        plan: See `plan_sweep`.
        run_name: Directory below ``storage``, and name of the MLflow run.
        storage: Local directory that holds runs.
        resume: ``auto``, ``must`` or ``never``, as of `am_ray.pretraining.pretrain`.
        tracked: Whether to log to MLflow.
        tracking_uri: Of MLflow; see `am_ray.tracking.sending`.
        on_result: Called for each trial that ends.
        stop: Another way to stop than a signal.

    Raises:
        SettingsError: The folder holds another sweep, or results on other data, or the cluster is too small.
        FolderInUseError: Another process runs this sweep.
        DatasetError: The dataset cannot be read.
        EnvironmentContractError: The environment cannot be used to evaluate.
    """
    folder = Path(storage) / run_name
    stop = stop or StopRequest()
    may_begin(plan, folder, resume)
    with study_folder(folder) as held:
        # Another process may run this sweep, and its results may be of other data: until both are ruled out, its files,
        # its MLflow run and its sender are left alone.
        check_trials(plan.trials, folder, plan.settings.sweep.scheduler)
        begin(plan, folder, resume)
        with _sending(folder, tracking_uri) if tracked else nullcontext():
            results = _run(plan, held, run_name, tracked, on_result, stop)
    best = best_trial(plan, results)
    return SweepOutcome(folder, tuple(results), None if best is None else best.name, stop.signal)


def _run(
    plan: SweepPlan,
    held: HeldFolder,
    name: str,
    tracked: bool,
    on_result: Callable[[TrialResult], None] | None,
    stop: StopRequest,
) -> list[TrialResult]:
    tracker = _open_tracker(plan, held.path, name) if tracked else None
    sweep = plan.settings.sweep
    try:
        results = run_trials(
            plan.trials,
            folder=held,
            max_concurrent=sweep.max_concurrent_trials,
            max_failures=sweep.max_failures,
            scheduler=sweep.scheduler,
            metric=sweep.metric,
            mode=sweep.mode,
            on_result=on_result,
            stop=stop,
            stage="sweep",
            tracked=tracked,
        )
    except BaseException as error:
        if tracker is not None:
            tracker.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    files = _write(plan, results, held.path, name)
    if tracker is not None:
        _log(tracker, plan, results, files, stopped=stop.signal is not None)
    return results


def _write(plan: SweepPlan, results: Sequence[TrialResult], folder: Path, name: str) -> list[Path]:
    content = to_json(plan, results, name=name)
    files = [folder / "results.json", folder / "results.csv", folder / "settings.yaml"]
    files[0].write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    files[1].write_text(to_csv(plan, results), encoding="utf-8")
    picture = folder / "sweep.png"
    return [*files, picture] if write_figure(plan, results, picture) else files


def _sending(folder: Path, uri: str | None) -> Any:
    from am_ray.tracking import sending

    return sending(folder, uri=uri)


def _open_tracker(plan: SweepPlan, folder: Path, name: str) -> RunTracker:
    from am_ray.tracking import RunTracker

    data = {trial.settings.dataset: trial.settings for trial in plan.trials}
    digests = {path: data_identity(settings).get("dataset", "") for path, settings in data.items()}
    tags = {"config.sha256": settings_sha256(plan.settings), "dataset.digest": " ".join(digests.values())}
    tracker = RunTracker.open(folder, name=name, stage="sweep", tags=tags)
    settings = to_mapping(plan.settings)
    for key in ("finetune", "seed"):
        settings.pop(key)
    tracker.params(settings)
    for path, digest in digests.items():
        if digest:
            tracker.dataset(name=Path(path).name, digest=digest, source=path, context="training")
    return tracker


def _log(
    tracker: RunTracker, plan: SweepPlan, results: Sequence[TrialResult], files: Sequence[Path], *, stopped: bool
) -> None:
    for path in files:
        tracker.artifact(path)
    counts = {
        status: sum(result.status == status for result in results) for status in ("completed", "stopped", "failed")
    }
    ranked = [group.mean for group in groups(plan, results) if group.mean is not None]
    values = {f"trials/{status}": float(count) for status, count in counts.items()}
    tracker.metrics(values | ({"best/mean_over_seeds": ranked[0]} if ranked else {}), step=len(results))
    best = best_trial(plan, results)
    if best is not None and best.checkpoint is not None:
        metric = plan.settings.sweep.metric
        tracker.best_checkpoint(Path(best.checkpoint), metric=metric, value=best.metrics[metric])
    tracker.end("KILLED" if stopped else "FINISHED")
