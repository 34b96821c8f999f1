"""``results.json``: every cell with its evaluation and the evidence that the cells had equal budgets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.finetuning.cells import subset_size
from am_ray.settings_reader import settings_sha256
from am_ray.trials.trial import origin_of
from am_ray.types import AmRayError

if TYPE_CHECKING:
    from am_ray.finetuning.cells import Cell
    from am_ray.finetuning.study import Study
    from am_ray.trials import TrialResult

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# Episodes of a cell's evaluation that are looked at for its pictures, and pictures taken.
PANEL_EPISODES, PANELS = 12, 4


def write_results(study: Study, digests: Mapping[tuple[int, int], str], ended: Sequence[TrialResult]) -> Path:
    """Writes the results of the cells that have ended, then pictures of the largest size's first seed."""
    by_name = {result.name: result for result in ended}
    cells = [_row(study, cell, digests, by_name[cell.name]) for cell in study.cells if cell.name in by_name]
    tasks = study.settings.evaluation.tasks
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "finetune",
        "name": study.folder.name,
        **origin_of(ended),
        "environment": study.environment,
        "task": tasks[0] if tasks else "default",
        "cells_planned": [cell.name for cell in study.cells],
        "cells": cells,
    }
    path = study.folder / "results.json"
    _write_whole(path, content)  # before the pictures: whatever becomes of them, the results are there
    for cell in study.cells:
        row = next((row for row in cells if row["name"] == cell.name), None)
        if row is not None and row["status"] == "completed" and _is_pictured(study, cell):
            row["panels"] = _panels(study, cell, row["checkpoint"])
    _write_whole(path, content)
    return path


def _write_whole(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def _is_pictured(study: Study, cell: Cell) -> bool:
    finetune = study.settings.finetune
    return (cell.episodes, cell.seed) == (max(finetune.episodes), finetune.seeds[0])


def _row(study: Study, cell: Cell, digests: Mapping[tuple[int, int], str], result: TrialResult) -> dict[str, Any]:
    from am_ray.data.labelled import draw_episodes

    chosen = draw_episodes(study.labelled.num_episodes, subset_size(cell.episodes), cell.seed)
    successes = sum(study.fulfils[episode] for episode in chosen) if cell.episodes else 0
    row = {
        "name": cell.name,
        "arm": cell.arm,
        "episodes": cell.episodes,
        "seed": cell.seed,
        "status": result.status,
        "error": result.error,
        "updates": result.update,
        "updates_planned": cell.settings.training.updates,
        "batch_size": cell.settings.algorithm.optimization.batch_size,
        "learning_rate": cell.settings.algorithm.optimization.learning_rate,
        "minutes": round(result.minutes, 3),
        "git_commit": result.git_commit,
        "machine": result.machine,
        "labelled_digest": digests[cell.episodes, cell.seed],
        "successful_labelled_episodes": successes,
        "settings_sha256": settings_sha256(cell.settings),
        "tuning_trials": study.settings.finetune.tuning_trials.get(cell.arm),
        "scale_from": _scale_from(cell),
        "transitions_per_update": _transitions(cell),
        "unlabelled_digest": None,
        "pretrained_from": None,
        "parameters": None,
        "checkpoint": result.checkpoint,
        "evaluation": result.evaluation,
        "panels": [],
    }
    if result.checkpoint is not None and result.status == "completed":
        row |= _from_checkpoint(result.checkpoint, cell)
    return row


def _scale_from(cell: Cell) -> str:
    """The data whose means and deviations standardise the network's inputs."""
    task = cell.settings.task
    return "pretraining" if task.initial else "unlabelled" if task.auxiliary else "labelled"


def _transitions(cell: Cell) -> int:
    """Transitions that one update sees: those of the labelled data, and as many more of the auxiliary ones."""
    task, size = cell.settings.task, cell.settings.algorithm.optimization.batch_size
    return size + (round(size * task.auxiliary_ratio) if task.auxiliary else 0)


def _from_checkpoint(path: str, cell: Cell) -> dict[str, Any]:
    """Size of what was trained, and where it came from."""
    from am_ray.data.reader import read_manifest
    from am_ray.models.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path)
    # Adam keeps a moment of each parameter that is trained, and of nothing else.
    trained = [moment for name, moment in checkpoint.state.optimizer.items() if name.endswith(".exp_avg")]
    auxiliary = cell.settings.task.auxiliary
    return {
        "parameters": sum(moment.size for moment in trained),
        "pretrained_from": checkpoint.origin.get("pretrained_from"),
        "unlabelled_digest": read_manifest(auxiliary).digest if auxiliary else None,
    }


def _panels(study: Study, cell: Cell, checkpoint: str) -> list[str]:
    """Pictures of successes and failures, drawn once, in a process of their own; none where there are no frames to draw."""
    from am_ray.evaluation import evaluate
    from am_ray.ray_session import ray_session

    folder, asked = study.folder / "panels" / cell.name, study.settings.evaluation
    if not folder.exists():
        try:
            with ray_session():
                evaluate(
                    checkpoint,
                    env_id=study.environment["id"],
                    env_kwargs=study.environment["kwargs"],
                    tasks=list(asked.tasks) or None,
                    episodes=min(PANEL_EPISODES, asked.episodes),
                    seed=asked.seed,
                    baselines=False,
                    max_steps=asked.max_steps or None,
                    panels_dir=folder,
                    panels_per_task=PANELS,
                    isolated=True,
                )
        except AmRayError as error:
            logger.info("no pictures of %s: %s", cell.name, error)
            return []
    return [str(path.relative_to(study.folder)) for path in sorted(folder.glob("*.png"))]
