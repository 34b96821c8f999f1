"""``am-ray evaluate``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from am_ray.cli.report import Report, table_text
from am_ray.settings import Acting, CloningAct
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.evaluation import TaskSpec


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="show a checkpoint goals and count the ones it reaches",
        description="The checkpoint, a random policy and the environment's scripted oracle, on the same goals.",
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a checkpoint, or the folder of a run (its newest one)"
    )
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="default: the three zero-shot tasks of the tray")
    parser.add_argument("--episodes", type=int, default=64, metavar="N", help="per task; default: 64")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of starts and goals; default: 0")
    parser.add_argument("--workers", type=int, metavar="N", help="processes; default: one per CPU")
    parser.add_argument("--json", metavar="FILE", help="write the results there as JSON; - for stdout")
    parser.add_argument("--panels", metavar="DIR", help="write pictures of start, goal and final frame there")
    parser.add_argument("--env", metavar="ID", help="Gymnasium id (package:Env-v0 too); default: the data's own")
    parser.add_argument(
        "--env-kwargs", metavar="JSON", help="keyword arguments of the environment, over the data's own"
    )
    parser.add_argument(
        "--reset-options",
        action="append",
        metavar="JSON",
        help="options of reset(): one task for each time it is given",
    )
    parser.add_argument(
        "--max-steps", type=int, metavar="N", help="actions per episode; default: the environment ends it"
    )
    parser.add_argument(
        "--acting",
        choices=list(dict.fromkeys(get_args(Acting) + get_args(CloningAct))),
        help="how the policy acts (critic.acting, or cloning.act); default: as it was trained to",
    )
    parser.add_argument(
        "--no-baselines", action="store_true", help="leave out the random policy and the oracle, half of the time"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.evaluation import evaluate

    # As `python -m` does: a package in the current folder can register the environment that --env names.
    sys.path.append(str(Path.cwd()))
    json_path = None if args.json in (None, "-") else _writable(args.json)
    report = evaluate(
        args.checkpoint,
        env_id=args.env,
        env_kwargs=None if args.env_kwargs is None else json_mapping("--env-kwargs", args.env_kwargs),
        tasks=_tasks(args.tasks, args.reset_options),
        episodes=args.episodes,
        seed=args.seed,
        workers=len(os.sched_getaffinity(0)) if args.workers is None else args.workers,
        baselines=not args.no_baselines,
        max_steps=args.max_steps,
        acting=args.acting,
        panels_dir=args.panels,
    )
    text = json.dumps(report.to_json(), indent=2, allow_nan=False)
    if args.json == "-":
        return Report(text)
    if json_path is not None:
        json_path.write_text(text + "\n")
    return Report(table_text(report.table()))


def _writable(name: str) -> Path:
    """The file that ``--json`` names, found out before the episodes run: they may take hours."""
    path = Path(name)
    existed = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise SettingsError(
            f"--json: {name} cannot be written ({error}). Name another file, or - for stdout."
        ) from error
    if not existed:
        path.unlink()  # an evaluation that fails leaves no empty file
    return path


def json_mapping(option: str, text: str) -> dict[str, Any]:
    """The JSON object that an option holds.

    Raises:
        SettingsError: It is not JSON, or not an object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise SettingsError(
            f"""{option}: got {text!r}, which is not JSON ({error}). Write '{{"name": value}}'."""
        ) from error
    if not isinstance(value, dict):
        raise SettingsError(f"""{option}: got {text!r}; expected a JSON object. Write '{{"name": value}}'.""")
    return value


def _tasks(names: list[str] | None, reset_options: list[str] | None) -> list[str] | list[TaskSpec] | None:
    from am_ray.evaluation import tasks_from_reset_options

    if names and reset_options:
        raise SettingsError("--tasks and --reset-options: got both; expected one of them. Leave one out.")
    if reset_options:
        return tasks_from_reset_options([json_mapping("--reset-options", text) for text in reset_options])
    return None if names is None else [name for text in names for name in text.split(",") if name]
