"""``am-ray pretrain``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.cli.report import Report
from am_ray.progress import progress_bar
from am_ray.settings import PretrainSettings
from am_ray.study_settings import StudySettings
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.pretraining import PretrainProgress, PretrainResult

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "pretrain",
        help="learn to reach goals from a dataset, without rewards",
        description="The same command continues a run that was stopped. Ctrl-C saves a checkpoint first.",
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG.yaml", help="settings; default: all defaults")
    parser.add_argument("--dataset", metavar="DIR", help="what to learn from; default: the config's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", dest="overrides", help="change one setting (repeatable)"
    )
    parser.add_argument("--run-name", metavar="N", help="folder of the run in --storage; default: the config's name")
    parser.add_argument("--storage", default="runs", metavar="DIR", help="folder of all runs; default: runs")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto: continue the run if it exists; must: it has to exist; never: it must not; default: auto",
    )
    parser.add_argument("--skip-bad-files", action="store_true", help="go on without damaged data files")
    parser.add_argument("--smoke-test", action="store_true", help="a handful of updates, to see that all fits together")
    add_tracking_options(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def add_tracking_options(parser: argparse.ArgumentParser) -> None:
    """``--tracking-uri`` and ``--no-tracking``, for every command whose runs go to MLflow."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow to log to; default: MLFLOW_TRACKING_URI, else mlflow.db in --storage (see 'am-ray ui')",
    )
    group.add_argument("--no-tracking", action="store_true", help="do not log to MLflow")


def run(args: argparse.Namespace) -> Report:
    from am_ray.pretraining import pretrain, smoke_test
    from am_ray.tracking import RunTracker, sending

    overrides = [*args.overrides, *(["ingest.skip_bad_files=true"] if args.skip_bad_files else [])]
    settings = read_config(args.config, args.dataset, overrides)
    if args.smoke_test:
        settings = smoke_test(settings)
    name = args.run_name or (Path(args.config).stem if args.config else "pretrain")
    folder, tracked = Path(args.storage) / name, not args.no_tracking
    with (
        sending(folder, uri=args.tracking_uri) if tracked else nullcontext(),
        _shown(settings.training.updates) as on_progress,
    ):
        result = pretrain(
            settings,
            run_name=name,
            storage=args.storage,
            resume=args.resume,
            on_progress=on_progress,
            tracker=RunTracker.open(folder, name=name, stage="pretrain") if tracked else None,
        )
    return _report(result)


def read_config(path: str | None, dataset: str | None, overrides: list[str]) -> PretrainSettings:
    """The run's settings of a file (or the defaults) with those of the command line over them.

    The file may be one of a study: what it says of evaluation, sweep and fine-tuning is checked, and left aside.

    Raises:
        SettingsError: One of them is unknown, of the wrong type or out of range.
    """
    from am_ray.settings_reader import read_settings
    from am_ray.strict_yaml import apply_overrides, load_yaml

    mapping = {} if path is None else load_yaml(path)
    if path is not None:
        # A file that is wrong by itself is reported with its name, before the command line changes anything.
        read_settings(StudySettings, mapping, path)
    mapping = apply_overrides(mapping, overrides)
    if dataset is not None:
        mapping["dataset"] = dataset
    if not mapping.get("dataset"):
        raise SettingsError("dataset: not given; expected a dataset's folder. Add --dataset DIR.")
    return read_settings(StudySettings, mapping, "command line" if overrides or path is None else path).run


@contextmanager
def _shown(total: int) -> Iterator[Callable[[PretrainProgress], None]]:
    """A bar for people who watch, and a line of metrics after every iteration."""
    done = 0
    with progress_bar("updates", total) as advance:

        def show(progress: PretrainProgress) -> None:
            nonlocal done
            from am_ray.pretraining import describe_progress

            advance(progress.update - done)
            done = progress.update
            logger.info("%s", describe_progress(progress))

        yield show


def _report(result: PretrainResult) -> Report:
    data = {
        "run_dir": str(result.run_dir),
        "checkpoint": str(result.checkpoint),
        "update": result.update,
        "resumed_from": result.resumed_from,
        "ingest_mode": result.ingest_mode,
        "metrics": result.metrics,
        "stopped_by": result.stopped_by,
    }
    stopped = "" if result.stopped_by is None else " (stopped; the same command goes on)"
    text = f"update {result.update}{stopped}\ncheckpoint {result.checkpoint}"
    return Report(text, data, 0 if result.stopped_by is None else 128 + result.stopped_by)
