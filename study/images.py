"""Which policies are trained from images: rows of a table of docs/RESULTS.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.models.hashed_files import MANIFEST
from study.outcomes import Cell, evaluated_cell, evaluation_source, read_json

IMAGES_TABLE = "tray_play_images"
LOG = "log.jsonl"


@dataclass(frozen=True)
class ImageRow:
    """Trainings by `study.gpu_training` that differ in their seed, and an evaluation of each.

    Attributes:
        label: Of its line in the table.
        run: Of the folder of the trainings; rows that share it show the same networks.
        config: In ``tune_configs/study/``.
        images_only: Whether the pose and opening of the gripper are left out.
        changes: Of settings.
        acting: How the critic acts, if not as it was trained to.
        seeds: Of training.
    """

    label: str
    run: str
    config: str = "tray_play_images"
    images_only: bool = False
    changes: tuple[str, ...] = ()
    acting: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def key(self) -> str:
        """Of where its numbers come from, in the table's file."""
        return self.run if self.acting is None else f"{self.run}_{self.acting}"

    def folder(self, seed: int) -> str:
        """Of a training's log and checkpoint, in the folder of the runs."""
        return f"images/{self.run}/seed={seed}"

    def evaluation(self, seed: int) -> str:
        """What the evaluation of a training writes, in the folder of the runs."""
        return f"images/{self.key}_{seed}.json"

    def cell(self, runs: Path) -> Cell | None:
        """Of the seeds that were trained and evaluated there, or None.

        Raises:
            ValueError: The evaluations did not meet the same starts.
        """
        seeds = self._seeds(runs)
        if not seeds:
            return None
        last = [_last_line(runs / self.folder(seed) / LOG) for seed in seeds]
        return evaluated_cell(
            {seed: read_json(runs / self.evaluation(seed)) for seed in seeds},
            updates=round(float(np.mean([line["update"] for line in last]))),
            minutes=float(np.mean([line["seconds"] for line in last])) / 60.0,
        )

    def source(self, runs: Path) -> dict[str, Any]:
        """Where the numbers come from."""
        first = read_json(runs / self.evaluation(self._seeds(runs)[0]))
        return {
            "config": f"tune_configs/study/{self.config}.yaml",
            "changes": list(self.changes),
            "images_only": self.images_only,
        } | evaluation_source(first)

    def _seeds(self, runs: Path) -> list[int]:
        """Those whose training and evaluation have ended."""
        return [
            seed
            for seed in self.seeds
            if (runs / self.folder(seed) / MANIFEST).exists() and (runs / self.evaluation(seed)).exists()
        ]


def _last_line(log: Path) -> dict[str, Any]:
    return dict(json.loads(log.read_text(encoding="utf-8").splitlines()[-1]))


_CEM = "critic.acting=cem"
IMAGE_ROWS = (
    ImageRow("Actionable Models", "actionable_models", seeds=(0, 1, 2, 3)),
    ImageRow("acting by CEM", "actionable_models", acting="cem"),
    ImageRow("acting by the cloning head, without Q", "actionable_models", acting="cloned"),
    ImageRow("without the auxiliary cloning loss, by CEM", "no_auxiliary", changes=(_CEM, "critic.cloning_weight=0")),
    ImageRow("behaviour cloning (GCBC)", "behavior_cloning", "tray_play_images_cloning"),
    ImageRow("without the gripper's pose", "images_only", images_only=True, changes=("model.mirror_state=[]",)),
)
