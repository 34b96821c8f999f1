"""A rehearsal: every step of a study, with next to no data, updates and goals, in folders of its own.

It shows on a fresh machine that the steps go together and that the report can be written of what they leave; its numbers mean nothing, and
docs/ is not touched, nor any MLflow that others read.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from study.plan import Folders, Step
from study.report import PAGE, README

FOLDERS = Folders(Path("data/rehearsal"), Path("runs/rehearsal"))
# A checkpoint on the way of a sweep is taken after a thousandth of the updates.
SCALE = 1_000
_TRAINING = (
    "training.updates=30",
    "training.checkpoint_every=5",
    "training.updates_per_iteration=5",
    "evaluation.episodes=1",
)
_SETTINGS = {"sweep": _TRAINING, "finetune": (*_TRAINING, "finetune.seeds=[0]", "finetune.episodes=[25]")}
_OPTIONS = {
    "collect": ("--episodes", "60"),
    "evaluate": ("--episodes", "1"),
    "study.point_maze": ("--episodes", "60"),
    "study.gpu_training": ("--updates", "5"),
    "study.pictures": ("--episodes", "2"),
}
# The last 200 episodes of packed images are kept out of training.
_IMAGE_EPISODES = ("--episodes", "210")
_CHECKPOINT = re.compile(r"(?<=/checkpoint-)\d{9}$")


def rehearsed(step: Step) -> Step:
    """The same step, small; of options that are given twice the last one counts."""
    command = [_CHECKPOINT.sub(lambda at: f"{int(at[0]) // SCALE:09d}", word) for word in step.command]
    what = command[1] if command[0] == "am-ray" else command[2]
    options = _IMAGE_EPISODES if step.name.startswith("collect tray_play_image") else _OPTIONS.get(what, ())
    own = {word.split("=")[0] for option, word in pairwise(command) if option == "--set"}
    small = [setting for setting in _SETTINGS.get(what, ()) if setting.split("=")[0] not in own]
    settings = [word for setting in small for word in ("--set", setting)]
    untracked = ("--no-tracking",) if settings else ()
    return replace(step, command=(*command, *options, *settings, *untracked))


def report_places(runs: Path) -> dict[str, Any]:
    """Where `study.report.write_report` writes, in place of docs/: copies of the pages, and results of its own."""
    report = runs / "report"
    report.mkdir(parents=True, exist_ok=True)
    return {"results": report / "results", "pages": [Path(shutil.copy(page, report)) for page in (PAGE, README)]}
