"""``am-ray compare``."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.cli.pretrain import add_tracking_options
from am_ray.cli.report import Report, table_text
from am_ray.types import SettingsError

if TYPE_CHECKING:
    from am_ray.comparison import Comparison
    from am_ray.comparison.output import Written


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="say which arm of a fine-tuning study is better, and how sure that is",
        description="Success rates, paired differences with intervals, and the evidence that budgets were equal. Arms that "
        "were not treated alike are refused. Writes RUN/comparison/.",
    )
    parser.add_argument("study", metavar="RUN", help="the folder of a study of 'am-ray finetune'")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as JSON; - for stdout")
    parser.add_argument("--html", metavar="FILE", help="write the report there as one HTML file")
    add_tracking_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.comparison import compare, read_study
    from am_ray.tracking import sending

    comparison = compare(read_study(args.study))
    sender = contextlib.nullcontext() if args.no_tracking else sending(comparison.study.folder, uri=args.tracking_uri)
    with sender:
        written = write_report(comparison, tracked=not args.no_tracking)
    _copy("--html", written.html, args.html)
    if args.json == "-":
        return Report(json.dumps(comparison.to_json(), indent=2, allow_nan=False))
    _copy("--json", written.json, args.json)
    return comparison_report(comparison, written)


def write_report(comparison: Comparison, *, tracked: bool) -> Written:
    """Writes the report beside its study, and logs it to the study's run if that is tracked."""
    from am_ray.comparison.output import track_comparison, write_comparison

    written = write_comparison(comparison)
    if tracked:
        track_comparison(comparison, written)
    return written


def comparison_report(comparison: Comparison, written: Written) -> Report:
    """What a person reads of a comparison, and its numbers."""
    return Report(_text(comparison, written), comparison.to_json())


def _copy(option: str, path: Path, target: str | None) -> None:
    if target is None or Path(target).resolve() == path.resolve():
        return
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    except OSError as error:
        raise SettingsError(
            f"{option}: {target} cannot be written ({error}). Name another file; the report is in {path}."
        ) from error


def _text(comparison: Comparison, written: Written) -> str:
    from am_ray.comparison.prose import facts, pretraining_lines
    from am_ray.comparison.tables import rich_table, text_tables

    parts = [". ".join(facts(comparison)) + "."]
    parts += [table_text(rich_table(table)) for table in text_tables(comparison) if table.rows]
    if lines := pretraining_lines(comparison):
        parts.append("\n".join(["Pre-training, not counted above:", *(f"  {line}" for line in lines)]))
    if comparison.notes:
        parts.append("\n".join(["What limits this:", *(f"  - {note}" for note in comparison.notes)]))
    parts.append("\n".join(comparison.conclusions))
    parts.append(f"report {written.html}")
    return "\n\n".join(parts)
