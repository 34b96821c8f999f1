"""Ray Tune, told as little as it needs: which trials there are, what each asks for, how often one is started again.

Tune keeps no state that we read: trials live in folders of their own, see `am_ray.trials.process`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import BasicVariantGenerator

from am_ray.stopping import StopRequest
from am_ray.trials.process import TrialJob, run_trial
from am_ray.trials.resources import TrialResources

logger = logging.getLogger(__name__)

_ENVIRONMENT = {
    # Signals are ours: trials get time to write a checkpoint.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Trials of which not one episode counts report no success rate.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Relative paths are those of the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # The newer output prints a table at the start whatever the verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_in_tune(
    jobs: Sequence[TrialJob],
    needs: Sequence[TrialResources],
    *,
    folder: Path,
    max_concurrent: int,
    max_failures: int,
    scheduler: Any,
    stop: StopRequest,
    on_end: Callable[[int, bool], None],
) -> None:
    """Runs the jobs; returns when all have ended, or when those that run have stopped as asked.

    Args:
        jobs: One for each trial.
        needs: What each asks Ray for.
        folder: For files that Tune insists on; deleted afterwards.
        max_concurrent: Trials at once.
        max_failures: Times that a trial is started again.
        scheduler: Of Tune; None runs every trial to its end.
        stop: Once made, no further trial is started.
        on_end: Called with the index of a trial whose process is done with, and whether it failed too often.
    """

    def in_tune(config: dict[str, Any], jobs: Sequence[TrialJob]) -> None:
        run_trial(jobs[config["index"]], tune.report, isolated=True)

    def resources(config: dict[str, Any]) -> Any:
        return tune.PlacementGroupFactory([dict(bundle) for bundle in needs[config["index"]].bundles])

    trainable = tune.with_resources(tune.with_parameters(in_tune, jobs=tuple(jobs)), resources)
    shutil.rmtree(folder, ignore_errors=True)
    with _quiet():
        try:
            tune.Tuner(
                trainable,
                param_space={"index": tune.grid_search(list(range(len(jobs))))},
                tune_config=tune.TuneConfig(search_alg=_InOrder(stop, max_concurrent), scheduler=scheduler),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(folder.resolve()),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                    callbacks=[_Ends(jobs, on_end), _Silent()],
                ),
            ).fit()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _InOrder(BasicVariantGenerator):
    """Hands out the trials in order, until a stop is asked for."""

    def __init__(self, stop: StopRequest, max_concurrent: int) -> None:
        super().__init__(max_concurrent=max_concurrent)
        self._stop = stop

    def next_trial(self) -> Any:
        if self._stop.signal is not None:
            self._finished = True
            return None
        trial: Any = super().next_trial  # has no annotations
        return trial()

    def save_to_dir(self, dirpath: str, *arguments: Any, **options: Any) -> None:
        """Nothing: our folders are what a study goes on from."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it runs, and a stop request has listeners that cannot be."""
        return {}


class _Ends(tune.Callback):
    """Tells which trials have ended, and logs those that are started again."""

    def __init__(self, jobs: Sequence[TrialJob], on_end: Callable[[int, bool], None]) -> None:
        self._jobs, self._on_end = jobs, on_end

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it runs, and a study's progress bar cannot be."""
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_end(trial.config["index"], False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._on_end(trial.config["index"], True)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = self._jobs[trial.config["index"]].trial.name
        logger.warning("%s: failed or died; started again, from its newest valid checkpoint", name)


class _Silent(TrialProgressCallback):
    """Takes the place of Tune's own, which prints at the end of trials whatever the verbosity."""

    def on_trial_result(self, *arguments: Any, **info: Any) -> None:
        """Nothing."""

    def on_trial_error(self, *arguments: Any, **info: Any) -> None:
        """Nothing."""

    def on_trial_complete(self, *arguments: Any, **info: Any) -> None:
        """Nothing."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Tune without its tables and warnings: what went wrong with a trial stands in its result."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train")]
    levels = [entry.level for entry in loggers]
    os.environ.update(_ENVIRONMENT)
    for entry in loggers:
        entry.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for entry, level in zip(loggers, levels, strict=True):
            entry.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
