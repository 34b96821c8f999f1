"""What the process of one trial does: train, evaluate on the way and at the end, report. Killed anywhere, it goes on there."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.stopping import StopRequest
from am_ray.tracking.origin import git_commit, machine
from am_ray.trials.evaluating import UnusableEnvironmentError, evaluate_checkpoint
from am_ray.trials.folder_lock import locked
from am_ray.trials.trial import Evaluated, Trial, TrialFolder, TrialResult
from am_ray.types import AmRayError

if TYPE_CHECKING:
    from am_ray.pretraining import PretrainProgress
    from am_ray.tracking import RunTracker

logger = logging.getLogger(__name__)

Report = Callable[[dict[str, float]], None]
STOP_FILE = ".stop"
_POLL_S = 0.5
# A killed driver's trials die with it, within seconds; a machine that is lost may take longer to be noticed.
_LOCK_WAIT_S = 60.0


@dataclass(frozen=True)
class TrialJob:
    """What a trial's process needs to know; picklable.

    Attributes:
        folder: Of the study.
        stage: ``sweep`` or ``finetune``, for tracking.
        tracked: Whether the trial logs to MLflow (through files; see `am_ray.tracking`).
        path: Of the driver's imports: user environments are found alike.
        cwd: Of the driver: relative paths mean the same, where it exists (a job's nodes have their own copy).
        git_commit: Of the driver's code, which a job's nodes have a copy of that is no checkout.
    """

    trial: Trial
    folder: Path
    stage: str
    tracked: bool
    path: tuple[str, ...]
    cwd: str
    git_commit: str | None = None


def run_trial(job: TrialJob, report: Report, *, isolated: bool = False) -> None:
    """Runs a trial to its end, or until the study's stop file appears.

    Errors that a second attempt would meet again (an `AmRayError`) end the trial here as failed; others are raised, and
    are the caller's to try again.

    Args:
        job: The trial.
        report: Called with ``update`` and the metrics of each evaluation.
        isolated: Whether episodes run in a process of their own; needs Ray.
    """
    if Path(job.cwd).is_dir():
        os.chdir(job.cwd)
    sys.path += [entry for entry in job.path if entry not in sys.path]
    files = TrialFolder(job.folder, job.trial.name)
    with locked(files.path, wait_s=_LOCK_WAIT_S), _logged(files.path / "trial.log"):
        ended = files.result(job.trial)
        if ended is not None and ended.status != "failed":
            report({"update": ended.update, **ended.metrics})
            return
        (files.path / "error.txt").unlink(missing_ok=True)
        (files.path / "trial.json").unlink(missing_ok=True)
        with _stop_when(job.folder / STOP_FILE) as stop:
            _Attempt(job, files, stop, report, isolated).run()


class _Attempt:
    """One process's work on a trial."""

    def __init__(self, job: TrialJob, files: TrialFolder, stop: StopRequest, report: Report, isolated: bool) -> None:
        self._trial, self._files, self._stop, self._report = job.trial, files, stop, report
        self._isolated = isolated
        self._evaluations: list[Evaluated] = []
        # Asked for now: files may change while it trains.
        self._git_commit = git_commit() or job.git_commit
        self._tracker = open_tracker(job) if job.tracked else None

    def run(self) -> None:
        try:
            finished = self._train_and_evaluate()
        except Exception as error:
            logger.exception("this attempt failed")
            text = f"{type(error).__name__}: {error}"
            if isinstance(error, AmRayError) and not isinstance(error, UnusableEnvironmentError):
                self._end("failed", error=text)
                self._report({"update": self._files.training()[0]})
                return
            self._files.write_whole("error.txt", text)
            raise
        else:
            if finished:
                # Before the last report: a scheduler may end this process because of it.
                last = self._end("completed")
                self._report({"update": last.update, **last.metrics})
            elif self._tracker is not None:
                self._tracker.end("KILLED")

    def _train_and_evaluate(self) -> bool:
        from am_ray.models.checkpoint import latest_valid_checkpoint
        from am_ray.pretraining import pretrain

        start = latest_valid_checkpoint(self._files.path)
        update = 0 if start is None else int(start.name.split("-")[1])
        self._evaluations = self._files.evaluations(up_to=update)
        if start is not None and update < self._trial.settings.training.updates and self._is_due(update):
            # The last attempt saved this checkpoint for an evaluation that it did not finish.
            self._evaluate(update, start)
        tracking: dict[str, Any] = {} if self._tracker is None else {"tracker": self._tracker}
        result = pretrain(
            self._trial.settings,
            run_name=self._trial.name,
            storage=self._files.storage,
            resume="auto",
            on_progress=self._on_progress,
            stop=self._stop,
            **tracking,
        )
        if self._stop.signal is not None:
            return False
        if not self._evaluations or self._evaluations[-1].update != result.update:
            self._evaluate(result.update, result.checkpoint)
        return True

    def _on_progress(self, progress: PretrainProgress) -> None:
        if progress.update < progress.total and self._stop.signal is None and self._is_due(progress.update):
            last = self._evaluate(progress.update, progress.save())
            self._report({"update": last.update, **last.metrics})

    def _is_due(self, update: int) -> bool:
        every = self._trial.evaluation.every
        before = self._evaluations[-1].update if self._evaluations else 0
        return every > 0 and update // every > before // every

    def _evaluate(self, update: int, checkpoint: Path) -> Evaluated:
        record, rates = evaluate_checkpoint(checkpoint, self._trial.evaluation, isolated=self._isolated)
        _, _, training = self._files.training(up_to=update)
        last = Evaluated(update, checkpoint.name, training | rates, record)
        self._evaluations.append(last)
        self._files.write_evaluations(self._evaluations)
        logger.info("update %d: %s", update, rates)
        if self._tracker is not None:
            self._tracker.metrics(rates, step=update)
        return last

    def _end(self, status: Any, error: str | None = None) -> TrialResult:
        result = result_of(self._files, self._trial, status, error, git_commit=self._git_commit)
        self._files.write_result(self._trial, result)
        if self._tracker is not None:
            self._tracker.end("FAILED" if status == "failed" else "FINISHED")
        return result


def result_of(
    files: TrialFolder, trial: Trial, status: Any, error: str | None = None, *, git_commit: str | None
) -> TrialResult:
    """The result of a trial that ends here, from its files."""
    update, minutes, metrics = files.training()
    evaluations = files.evaluations()
    last = evaluations[-1] if evaluations else None
    return TrialResult(
        name=trial.name,
        status=status,
        update=update,
        minutes=minutes,
        metrics=metrics | ({} if last is None else last.metrics),
        evaluation=None if last is None else last.record,
        checkpoint=None if last is None else str(files.path / last.checkpoint),
        error=error,
        git_commit=git_commit,
        machine=machine(),
    )


def open_tracker(job: TrialJob) -> RunTracker:
    """The trial's MLflow run, a child of the study's."""
    from am_ray.tracking import RunTracker

    files = TrialFolder(job.folder, job.trial.name)
    return RunTracker.open(
        files.path, name=job.trial.name, stage=job.stage, parent=job.folder, tags=dict(job.trial.tags)
    )


@contextmanager
def _stop_when(path: Path) -> Iterator[StopRequest]:
    """A request that is made when the file appears; the file holds the number of the signal."""
    request, over = StopRequest(), threading.Event()

    def watch() -> None:
        while True:
            if path.exists():
                request.request(int(path.read_text() or 2))
                return
            if over.wait(_POLL_S):
                return

    if path.exists():
        request.request(int(path.read_text() or 2))
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield request
    finally:
        over.set()
        thread.join()


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """This process's log also goes to the file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("am_ray")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
