"""``am-ray finetune``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.cli.compare import comparison_report, write_report
from am_ray.cli.evaluate import json_mapping
from am_ray.cli.pretrain import add_tracking_options
from am_ray.cli.report import Report

if TYPE_CHECKING:
    from am_ray.finetuning.study import FinetuneResult, Study
    from am_ray.study_settings import StudySettings


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "finetune",
        help="learn a task from few labelled episodes, with and without pre-training",
        description="Arms x numbers of episodes x seeds, everything else equal; ends in the comparison. The same command "
        "goes on with a study that was stopped.",
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="settings, with a section finetune")
    parser.add_argument("--dataset", metavar="DIR", help="labelled data; default: the config's finetune.labelled")
    parser.add_argument(
        "--pretrained", metavar="RUN", help="run or checkpoint of am-ray pretrain; default: the config's"
    )
    parser.add_argument(
        "--unlabelled", metavar="DIR", help="data beside which the auxiliary arm learns; default: those of --pretrained"
    )
    parser.add_argument("--env", metavar="ID", help="Gymnasium id (package:Env-v0 too); default: the data's own")
    parser.add_argument(
        "--env-kwargs", metavar="JSON", help="keyword arguments of the environment, over the data's own"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", dest="overrides", help="change one setting (repeatable)"
    )
    parser.add_argument("--run-name", metavar="N", help="folder of the study in --storage; default: the config's name")
    parser.add_argument("--storage", default="runs", metavar="DIR", help="folder of all runs; default: runs")
    parser.add_argument(
        "--resume",
        choices=("auto", "must", "never"),
        default="auto",
        help="auto: go on with the study if it exists; must: it has to exist; never: it must not; default: auto",
    )
    add_tracking_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the cells, run nothing")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.finetuning import finetune, prepare
    from am_ray.tracking import sending

    # As `python -m` does: a package in the current folder can register the environment that --env names.
    sys.path.append(str(Path.cwd()))
    study = prepare(_settings(args), run_name=args.run_name or Path(args.config).stem, storage=args.storage)
    if args.dry_run:
        return _plan(study)
    tracked = not args.no_tracking
    with sending(study.folder, uri=args.tracking_uri) if tracked else nullcontext():
        result = finetune(study, resume=args.resume, tracked=tracked)
        return _report(study, result, tracked)


def _settings(args: argparse.Namespace) -> StudySettings:
    from am_ray.settings_reader import read_settings
    from am_ray.strict_yaml import apply_overrides, load_yaml
    from am_ray.study_settings import StudySettings

    mapping = load_yaml(args.config)
    # A file that is wrong by itself is reported with its name, before the command line changes anything.
    read_settings(StudySettings, mapping, args.config)
    mapping = apply_overrides(mapping, args.overrides)
    given = {
        ("finetune", "labelled"): args.dataset,
        ("finetune", "pretrained"): args.pretrained,
        ("finetune", "unlabelled"): args.unlabelled,
        ("evaluation", "env"): args.env,
        ("evaluation", "env_kwargs"): args.env_kwargs and json_mapping("--env-kwargs", args.env_kwargs),
    }
    for (section, key), value in given.items():
        if value is not None:
            mapping.setdefault(section, {})[key] = value
    return read_settings(StudySettings, mapping, "command line")


def _plan(study: Study) -> Report:
    asked = study.settings.evaluation
    lines = [
        f"{len(study.cells)} cells in {study.folder}, {study.settings.training.updates} updates each, "
        f"{asked.episodes} evaluation episodes of {', '.join(asked.tasks) or 'the environment'}",
        f"labelled: {study.settings.finetune.labelled}, {sum(study.fulfils)} of {len(study.fulfils)} episodes succeed",
        *(f"  {cell.name}" for cell in study.cells),
    ]
    return Report("\n".join(lines), {"cells": [cell.name for cell in study.cells], "folder": str(study.folder)})


def _report(study: Study, result: FinetuneResult, tracked: bool) -> Report:
    """The comparison, where there is one already: a study that was stopped has its cells so far."""
    if result.stopped_by is not None:
        text = f"stopped; the same command goes on. Cells so far: {result.results}"
        return Report(text, {"folder": str(result.folder), "stopped_by": result.stopped_by}, 128 + result.stopped_by)
    from am_ray.comparison import compare, read_study

    comparison = compare(read_study(study.folder))
    report = comparison_report(comparison, write_report(comparison, tracked=tracked))
    return replace(report, code=1) if result.failed else report
