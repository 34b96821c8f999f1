"""The steps of the study, and their command lines read."""

from __future__ import annotations

import argparse
from pathlib import Path

from am_ray.cli.main import _parser
from study import gpu_training, packed, pictures, point_maze
from study.plan import Folders, Step, image_steps, state_steps

FOLDERS = Folders(Path("data"), Path("runs/study"))
STEPS = [*state_steps(FOLDERS), *image_steps(FOLDERS)]
PARSERS = {
    "study.packed": packed.argument_parser,
    "study.pictures": pictures.argument_parser,
    "study.point_maze": point_maze.argument_parser,
    "study.gpu_training": gpu_training.argument_parser,
}


def arguments(step: Step) -> argparse.Namespace:
    words = step.command
    return _parser().parse_args(words[1:]) if words[0] == "am-ray" else PARSERS[words[2]]().parse_args(words[3:])
