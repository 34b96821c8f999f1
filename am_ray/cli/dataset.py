"""``am-ray dataset info | validate | repair | render``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from am_ray.cli.report import Report
from am_ray.types import SettingsError


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser("dataset", help="look at datasets, check and repair them")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    _add(actions, "info", info, "what is in it: digest, episodes, transitions, shapes, origin")
    validate_parser = _add(actions, "validate", validate, "check it; exit status 1 if anything is wrong")
    validate_parser.add_argument("--deep", action="store_true", help="read every byte: hashes, pages, images, episodes")
    _add(actions, "repair", repair, "commit the whole episodes that an interrupted write left")
    render_parser = _add(actions, "render", render, "contact sheets (PNG) and animations (GIF) of episodes with images")
    render_parser.add_argument("--out", metavar="DIR", help="folder for the pictures; default: DATASET-pictures")
    render_parser.add_argument("--episodes", default="0", metavar="LIST", help="such as 0,3,10-12; default: 0")


def _add(actions: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    parser.add_argument("dataset", metavar="DATASET", help="a folder, or a URI such as s3://bucket/key")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)
    return parser


def info(args: argparse.Namespace) -> Report:
    from am_ray.data.validation import dataset_info

    data = dataset_info(args.dataset)
    width = max(map(len, data))
    lines = [f"{key:<{width}}  {_shown(value)}" for key, value in data.items() if key != "completion"]
    return Report("\n".join([*lines, "", *completion_table(data["completion"])]), data)


def completion_table(completion: dict[str, Any]) -> list[str]:
    """Lines of a table: a row for each task and one for all, in percent of the episodes that have a value."""
    flags = list(completion["all"]["shares"])
    rows = [["task", "episodes", *(flag.replace("_", " ") for flag in flags)]]
    for task, found in completion.items():
        shares = [f"{found['shares'][flag]:.0%}" if flag in found["shares"] else "-" for flag in flags]
        rows.append([task, f"{found['episodes']:,}", *shares])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def validate(args: argparse.Namespace) -> Report:
    from am_ray.data.validation import validate_dataset

    report = validate_dataset(args.dataset, deep=args.deep)
    verdict = "ok" if report.ok else counted(len(report.problems), "problem")
    found = counted(report.episodes, "episode")
    if report.promised_episodes not in (None, report.episodes):
        found = f"{report.episodes} of {counted(report.promised_episodes, 'episode')}"
    head = f"{report.path}: {verdict} ({found}, {counted(report.transitions, 'transition')} read)"
    return Report("\n".join([head, *report.problems]), report.to_json(), int(not report.ok))


def repair(args: argparse.Namespace) -> Report:
    from am_ray.data.validation import repair_dataset

    report = repair_dataset(args.dataset)
    done = "was complete already" if report.was_complete else f"recovered {counted(report.episodes, 'whole episode')}"
    gone = [f"discarded {path}" for path in report.discarded]
    return Report("\n".join([f"{report.path}: {done}", *gone, f"digest {report.digest}"]), report.to_json())


def render(args: argparse.Namespace) -> Report:
    from am_ray.data.rendering import render_dataset

    out = Path(args.out) if args.out else Path(f"{args.dataset.rstrip('/')}-pictures")
    files = [str(path) for path in render_dataset(args.dataset, out, parse_episodes(args.episodes))]
    return Report("\n".join(files), {"files": files})


def parse_episodes(text: str) -> list[int]:
    """Numbers and ranges (both ends included) as a list: ``0,3,10-12`` is 0, 3, 10, 11, 12.

    Raises:
        SettingsError: Anything else.
    """
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise SettingsError(f"--episodes: got {text!r}; expected numbers and ranges such as 0,3,10-12. Correct it.")
        chosen += range(int(first), int(last if dash else first) + 1)
    return chosen


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if type(value) is int else str(value)
