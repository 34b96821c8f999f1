"""``am-ray demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from am_ray.cli.compare import comparison_report
from am_ray.cli.report import Report, table_text


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="collect, pre-train, evaluate, fine-tune and compare at a small scale; what 'make demo' runs",
        description="Data, training, evaluation, fine-tuning with and without pre-training, in some minutes on two CPU "
        "cores.",
    )
    parser.add_argument("--out", metavar="DIR", help="default: runs/demo; with --images runs/demo-images")
    parser.add_argument(
        "--images", action="store_true", help="observe 48 px images and the own gripper in place of the state"
    )
    parser.add_argument("--smoke", action="store_true", help="a minute's worth, to see that all parts work")
    parser.add_argument("--json", action="store_true", help="print summary.json instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.demo import IMAGE_DEMO, STATE_DEMO, run_demo, smoke

    scale = IMAGE_DEMO if args.images else STATE_DEMO
    scale = smoke(scale) if args.smoke else scale
    result = run_demo(Path(args.out or scale.out), scale)
    parts = [table_text(result.table)]
    if result.comparison is not None and result.report is not None:
        parts.append(comparison_report(result.comparison, result.report).text)
    return Report("\n\n".join([*parts, result.footer]), result.summary)
