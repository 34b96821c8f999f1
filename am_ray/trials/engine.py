"""`run_trials`: many runs of one study, as many at once as fit; the same call again goes on where the last one ended."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from am_ray.progress import progress_bar
from am_ray.ray_session import ray_session
from am_ray.stopping import StopRequest, stop_on_signals
from am_ray.study_settings import SchedulerSettings
from am_ray.tracking.origin import git_commit
from am_ray.trials.folder_lock import HeldFolder, study_folder
from am_ray.trials.process import STOP_FILE, TrialJob, open_tracker, result_of
from am_ray.trials.trial import SUCCESS_RATE, Trial, TrialFolder, TrialResult, check_names
from am_ray.types import SettingsError

logger = logging.getLogger(__name__)

OnResult = Callable[[TrialResult], None]


def run_trials(
    trials: Sequence[Trial],
    *,
    folder: Path | HeldFolder,
    max_concurrent: int = 0,
    max_failures: int = 2,
    scheduler: SchedulerSettings | None = None,
    metric: str = SUCCESS_RATE,
    mode: Literal["max", "min"] = "max",
    on_result: OnResult | None = None,
    stop: StopRequest | None = None,
    stage: str = "sweep",
    tracked: bool = True,
) -> list[TrialResult]:
    """Trains and evaluates every trial, in processes of their own.

    Called again with the same trials and folder, it goes on: trials that were completed or stopped are not run again,
    others go on from their newest valid checkpoint (and failed ones are tried again), in the same MLflow runs.

    Args:
        trials: With names that differ.
        folder: Of the study; trials lie in ``trials/<name>``. On a cluster all nodes must see it. A caller that writes there
            itself gives what `am_ray.trials.study_folder` yields, and calls `check_trials` before it writes.
        max_concurrent: Trials at once; 0: as many as fit on the cluster.
        max_failures: Times that a trial whose process died, or that raised, is started again.
        scheduler: Stops worse trials early; by default none.
        metric: What the scheduler compares by.
        mode: Whether more of it is better.
        on_result: Called for each trial that ends during this call.
        stop: Another way to stop than a signal.
        stage: ``sweep`` or ``finetune``, for tracking.
        tracked: Whether trials log to MLflow, as children of the folder's run; see `am_ray.tracking.sending`.

    Returns:
        Results in the order of the trials. After SIGINT, SIGTERM or ``stop`` those that have not ended are missing; they
        have written a checkpoint.

    Raises:
        SettingsError: A trial of that name was run with other settings, its settings do not fit its data, the scheduler cannot work, or
            the cluster is too small.
        DatasetError: A trial's dataset cannot be read.
        EnvironmentContractError: The environment cannot be used to evaluate.
        FolderInUseError: Another process runs this study.
    """
    check_names(trials)
    _check_scheduler(trials, scheduler)
    stop = stop or StopRequest()
    with nullcontext(folder) if isinstance(folder, HeldFolder) else study_folder(folder) as held:
        if not isinstance(folder, HeldFolder):  # else the caller has, before it wrote anything
            check_trials(trials, held.path, scheduler)
        folder = held.path
        study = _Study(trials, folder, stage, tracked, stop, on_result)
        if study.open and stop.signal is None:
            (folder / STOP_FILE).unlink(missing_ok=True)
            study.run(max_concurrent, max_failures, scheduler, metric, mode)
        return study.results()


def check_trials(trials: Sequence[Trial], folder: Path, scheduler: SchedulerSettings | None = None) -> None:
    """Whether `run_trials` may go on with these trials in this folder, and can train and evaluate those that are left; nothing is written.

    Raises:
        AmRayError: See `run_trials`.
    """
    from am_ray.trials.preflight import check_beforehand

    check_names(trials)
    _check_scheduler(trials, scheduler)
    check_beforehand([trial for trial in trials if not _has_ended(TrialFolder(folder, trial.name).result(trial))])


def _has_ended(result: TrialResult | None) -> bool:
    """Failed trials are tried again."""
    return result is not None and result.status != "failed"


class _Study:
    """The trials of one call: which have ended, and how."""

    def __init__(
        self,
        trials: Sequence[Trial],
        folder: Path,
        stage: str,
        tracked: bool,
        stop: StopRequest,
        on_result: OnResult | None,
    ) -> None:
        self._trials, self._folder, self._stop, self._on_result = trials, folder, stop, on_result
        path, cwd = tuple(str(Path(entry).resolve()) for entry in sys.path if entry), str(Path.cwd())
        commit = git_commit() or None
        self._jobs = {t.name: TrialJob(t, folder.resolve(), stage, tracked, path, cwd, commit) for t in trials}
        self._files = {trial.name: TrialFolder(folder, trial.name) for trial in trials}
        found = {trial.name: self._files[trial.name].result(trial) for trial in trials}
        self._ended = {name: result for name, result in found.items() if result and _has_ended(result)}
        self._before = len(self._ended)
        self._error: Exception | None = None

    @property
    def open(self) -> list[Trial]:
        """Those that have not ended."""
        return [trial for trial in self._trials if trial.name not in self._ended]

    def results(self) -> list[TrialResult]:
        return [self._ended[trial.name] for trial in self._trials if trial.name in self._ended]

    def run(
        self, max_concurrent: int, max_failures: int, scheduler: SchedulerSettings | None, metric: str, mode: str
    ) -> None:
        from am_ray.trials.resources import concurrent_trials, local_cpus, trial_resources

        trials = self.open
        if self._before:
            logger.info("%s: %d of %d trials have ended before", self._folder, self._before, len(self._trials))
        needs = [trial_resources(trial.settings) for trial in trials]
        cores = len(os.sched_getaffinity(0))
        with ray_session(num_cpus=local_cpus(needs, cores)):
            import ray

            from am_ray.trials.tuning import run_in_tune

            cluster_resources: Any = ray.cluster_resources  # has no annotations
            at_once = concurrent_trials(needs, cluster_resources(), limit=max_concurrent)
            logger.info("%s: %d trials to run, %d at once", self._folder, len(trials), at_once)
            with self._stoppable(), progress_bar("trials", len(trials)) as advance:

                def on_end(index: int, failed: bool) -> None:
                    advance(1)
                    try:
                        self._end(trials[index], failed)
                    except Exception as error:  # not in the middle of Tune's own work
                        self._error = self._error or error
                        self._stop.request()

                run_in_tune(
                    [self._jobs[trial.name] for trial in trials],
                    needs,
                    folder=self._folder / ".tune",
                    max_concurrent=at_once,
                    max_failures=max_failures,
                    scheduler=self._scheduler(trials, scheduler, metric, mode),
                    stop=self._stop,
                    on_end=on_end,
                )
        if self._error is not None:
            raise self._error

    def _scheduler(self, trials: list[Trial], settings: SchedulerSettings | None, metric: str, mode: str) -> Any:
        if settings is None or settings.name == "fifo":
            return None
        from am_ray.trials.asha import RememberingAsha

        histories = {
            name: [(entry.update, entry.metrics[metric]) for entry in files.evaluations() if metric in entry.metrics]
            for name, files in self._files.items()
        }
        return RememberingAsha(
            [trial.name for trial in trials],
            settings,
            updates=max(trial.settings.training.updates for trial in self._trials),
            metric=metric,
            mode=mode,
            histories=histories,
        )

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Signals reach the trials as a file, which their processes look for, on whatever machine they are."""
        path = self._folder / STOP_FILE

        def tell() -> None:
            temporary = path.with_name(STOP_FILE + ".tmp")
            temporary.write_text(str(self._stop.signal))
            temporary.replace(path)

        # Within Ray's session: ray.init puts a handler of SIGTERM of its own in place of ours.
        try:
            with stop_on_signals(tell, self._stop):
                yield
        finally:
            path.unlink(missing_ok=True)

    def _end(self, trial: Trial, failed: bool) -> None:
        """A trial's process is done with: completed, stopped by the scheduler, failed, or told to stop by us."""
        files, job = self._files[trial.name], self._jobs[trial.name]
        result = files.result(trial)
        if result is None:
            if self._stop.signal is not None and not failed:
                return
            status, error = ("failed", self._last_error(files)) if failed else ("stopped", None)
            result = result_of(files, trial, status, error, git_commit=job.git_commit)
            files.write_result(trial, result)
            if job.tracked:
                open_tracker(job).end("FAILED" if failed else "FINISHED")
        self._ended[trial.name] = result
        place = f"{len(self._ended)} of {len(self._trials)}"
        rate = result.metrics.get(SUCCESS_RATE)
        said = result.error if rate is None or result.error else f"{SUCCESS_RATE} {rate:.3f}"
        logger.info("%s: %s at update %d, %s (%s)", trial.name, result.status, result.update, said, place)
        if self._on_result is not None:
            self._on_result(result)

    @staticmethod
    def _last_error(files: TrialFolder) -> str:
        path = files.path / "error.txt"
        if path.exists():
            return path.read_text(encoding="utf-8")
        return "its process died (killed, or out of memory), more often than max_failures allows; see trial.log"


def _check_scheduler(trials: Sequence[Trial], scheduler: SchedulerSettings | None) -> None:
    if scheduler is None or scheduler.name == "fifo":
        return
    if any(trial.evaluation.every == 0 for trial in trials):
        raise SettingsError(
            f"scheduler: {scheduler.name} judges trials on the way, but evaluation.every is 0; expected the number of updates "
            f"between two evaluations. Set it."
        )
    shortest = min(trial.settings.training.updates for trial in trials)
    if scheduler.grace_updates > shortest:
        raise SettingsError(
            f"scheduler.grace_updates: got {scheduler.grace_updates}; expected at most the {shortest} updates of a trial. "
            f"Lower it."
        )
