"""``am-ray track``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from am_ray.cli.report import Report


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "track",
        help="what MLflow has of the runs, and sending it what is missing",
        description="Runs log to files in their folders; those are sent while a command runs, or later, by 'sync'.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, run, text in (
        ("sync", _sync, "send MLflow every record that it does not have"),
        ("status", _status, "count the records that it does not have"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("folder", metavar="DIR", help="a run, a study, or a folder of them")
        action.add_argument(
            "--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI, else mlflow.db beside the runs"
        )
        action.add_argument("--json", action="store_true", help="print the result as JSON")
        action.set_defaults(run=run)


def _sync(args: argparse.Namespace) -> Report:
    from am_ray.tracking.sync import sync

    sent, problem = sync(Path(args.folder), args.tracking_uri)
    report = _status(args)
    text = f"{sent} records sent\n{report.text}"
    if problem:
        text += f"\nnot all of it: {problem}"
    return Report(text, {"sent_now": sent, "problem": problem} | report.data, report.code)


def _status(args: argparse.Namespace) -> Report:
    """Exit status 1 while something is unsent."""
    from am_ray.tracking.sync import status

    target, folders = status(Path(args.folder), args.tracking_uri)
    lines, runs = [target.shown], []
    for each in folders:
        refused = f", {each.refused} refused" if each.refused else ""
        lines.append(f"{each.folder}: {each.sent} sent, {each.unsent} unsent{refused}")
        values = {"folder": str(each.folder), "name": each.name, "run_id": each.run_id}
        runs.append(values | {"sent": each.sent, "unsent": each.unsent, "refused": each.refused})
    unsent = sum(each.unsent for each in folders)
    lines.append("nothing is unsent" if not unsent else f"{unsent} records are unsent")
    return Report("\n".join(lines), {"tracking_uri": target.shown, "unsent": unsent, "runs": runs}, int(unsent > 0))
