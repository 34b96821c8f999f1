"""``am-ray sweep``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.cli.pretrain import add_tracking_options
from am_ray.cli.report import Report, table_text
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.study_settings import StudySettings
    from am_ray.sweep import SweepOutcome, SweepPlan


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "sweep",
        help="train and evaluate one run's settings, varied, many at once",
        description="What is varied stands under 'sweep' in the config file. The same command continues a sweep that was "
        "stopped; Ctrl-C saves checkpoints of the trials first.",
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="settings of a run, of its evaluation and of the sweep")
    parser.add_argument("--dataset", metavar="DIR", help="what to learn from; default: the config's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", dest="overrides", help="change one setting (repeatable)"
    )
    parser.add_argument("--run-name", metavar="N", help="folder of the sweep in --storage; default: the config's name")
    parser.add_argument("--storage", default="runs", metavar="DIR", help="folder of all runs; default: runs")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto: continue the sweep if it exists; must: it has to exist; never: it must not; default: auto",
    )
    add_tracking_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="check everything, print what would run, and end")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.sweep import plan_sweep

    # As `python -m` does: a package in the current folder can register the environment that evaluation.env names.
    sys.path.append(str(Path.cwd()))
    settings = read_study(args.config, args.dataset, args.overrides)
    plan = plan_sweep(settings, args.config)
    if args.dry_run:
        return _planned(plan)
    from am_ray.sweep import run_sweep

    outcome = run_sweep(
        plan,
        run_name=args.run_name or Path(args.config).stem,
        storage=args.storage,
        resume=args.resume,
        tracked=not args.no_tracking,
        tracking_uri=args.tracking_uri,
    )
    return _report(plan, outcome)


def read_study(path: str, dataset: str | None, overrides: list[str]) -> StudySettings:
    """The settings of a file with those of the command line over them.

    Raises:
        SettingsError: One of them is unknown, of the wrong type or out of range, or there is no dataset.
    """
    from am_ray.settings_reader import read_settings
    from am_ray.strict_yaml import apply_overrides, load_yaml
    from am_ray.study_settings import StudySettings

    mapping = load_yaml(path)
    # A file that is wrong by itself is reported with its name, before the command line changes anything.
    read_settings(StudySettings, mapping, path)
    mapping = apply_overrides(mapping, overrides)
    if dataset is not None:
        mapping["dataset"] = dataset
    if not mapping.get("dataset"):
        raise SettingsError("dataset: not given; expected a dataset's folder. Add --dataset DIR.")
    return read_settings(StudySettings, mapping, "command line" if overrides else path)


def _planned(plan: SweepPlan) -> Report:
    """What would run. Data and environment are opened: what they lack is said now."""
    from rich.table import Table

    from am_ray.settings_reader import to_mapping
    from am_ray.sweep.plan import short_names, shown
    from am_ray.trials.preflight import check_beforehand
    from am_ray.trials.resources import trial_resources

    check_beforehand(plan.trials)
    needs = [trial_resources(trial.settings).total for trial in plan.trials]
    short = short_names(plan.varied)
    table = Table(title=f"{len(plan.trials)} trials")
    for heading in ["trial", *(short[key] for key in plan.varied), "updates", "needs"]:
        table.add_column(heading, justify="left" if heading in ("trial", "needs") else "right")
    for trial, need in zip(plan.trials, needs, strict=True):
        asked = ", ".join(f"{value:g} {name}" for name, value in need.items() if value)
        cells = [shown(plan.value(trial.name, key)) for key in plan.varied]
        table.add_row(trial.name, *cells, str(trial.settings.training.updates), asked)
    evaluation, sweep = plan.settings.evaluation, plan.settings.sweep
    tasks = ", ".join(evaluation.tasks) or "the environment's own tasks"
    way = f", every {evaluation.every} updates" if evaluation.every else ", at the end"
    text = f"{table_text(table)}\nevaluation: {tasks}, {evaluation.episodes} episodes each{way}\n"
    text += f"scheduler: {sweep.scheduler.name}; ordered by {sweep.metric} ({sweep.mode})"
    data = {
        "trials": [
            {"name": trial.name, "values": dict(plan.values[trial.name]), "resources": need}
            for trial, need in zip(plan.trials, needs, strict=True)
        ],
        "evaluation": to_mapping(evaluation),
        "sweep": to_mapping(sweep),
    }
    return Report(text, data)


def _report(plan: SweepPlan, outcome: SweepOutcome) -> Report:
    import json

    from am_ray.sweep.results import table

    shown = table(plan, outcome.results, title=f"{len(outcome.results)} of {len(plan.trials)} trials")
    lines = [table_text(shown)] if outcome.results else ["no trial has ended"]
    best = next((result for result in outcome.results if result.name == outcome.best), None)
    if best is not None:
        lines.append(f"best {best.checkpoint}")
    lines.append(f"results {outcome.folder / 'results.json'}")
    if outcome.stopped_by is not None:
        lines.append("stopped; the same command goes on")
    data = json.loads((outcome.folder / "results.json").read_text(encoding="utf-8"))
    data |= {"folder": str(outcome.folder), "stopped_by": outcome.stopped_by}
    failed = all(result.status == "failed" for result in outcome.results) and bool(outcome.results)
    code = 128 + outcome.stopped_by if outcome.stopped_by is not None else int(failed)
    return Report("\n".join(lines), data, code)
