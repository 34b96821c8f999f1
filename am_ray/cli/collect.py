"""``am-ray collect``."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Any

from am_ray.cli.report import Report


def add_parser(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "collect",
        help="play a recipe's episodes in simulation and write them as a dataset",
        description="The same command continues a collection that was killed; the data do not depend on --workers.",
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml", help="such as datasets/tray_play.yaml")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the new dataset")
    parser.add_argument("--episodes", type=int, metavar="N", help="default: as many as the recipe says")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that play; default: one per CPU")
    parser.add_argument("--seed", type=int, metavar="S", help="of the whole dataset; default: the recipe's")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    from am_ray.collection import collect

    began_s = time.perf_counter()
    result = collect(args.recipe, args.out, episodes=args.episodes, workers=args.workers, seed=args.seed)
    seconds = time.perf_counter() - began_s
    text = (
        f"{result.path}: {result.episodes} episodes, {result.transitions} transitions in {seconds:.0f} s\n"
        f"digest {result.digest}"
    )
    return Report(text, {**asdict(result), "seconds": round(seconds, 3)})
