"""``results.json``: every cell with its evaluation and the evidence that the cells had equal budgets."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.settings_reader import settings_sha256

if TYPE_CHECKING:
    from am_ray.finetuning.cells import Cell
    from am_ray.finetuning.study import Study
    from am_ray.trials import TrialResult

SCHEMA_VERSION = 1
# Episodes of a cell's evaluation that are looked at for its pictures, and pictures taken.
PANEL_EPISODES, PANELS = 12, 4


def write_results(study: Study, digests: Mapping[tuple[int, int], str], ended: Sequence[TrialResult]) -> Path:
    """Writes the results of the cells that have ended, and pictures of the largest size's first seed."""
    by_name = {result.name: result for result in ended}
    cells = [_row(study, cell, digests, by_name[cell.name]) for cell in study.cells if cell.name in by_name]
    tasks = study.settings.evaluation.tasks
    content = {
        "schema_version": SCHEMA_VERSION,
        "kind": "finetune",
        "name": study.folder.name,
        "git_commit": _git_commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "environment": study.environment,
        "task": tasks[0] if tasks else "default",
        "cells": cells,
    }
    path = study.folder / "results.json"
    temporary = path.with_name("results.json.tmp")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def _row(study: Study, cell: Cell, digests: Mapping[tuple[int, int], str], result: TrialResult) -> dict[str, Any]:
    from am_ray.data.labelled import draw_episodes

    chosen = draw_episodes(study.labelled.num_episodes, cell.episodes, cell.seed)
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
        "minutes": round(result.minutes, 3),
        "labelled_digest": digests[cell.episodes, cell.seed],
        "successful_labelled_episodes": sum(study.fulfils[episode] for episode in chosen),
        "settings_sha256": settings_sha256(cell.settings),
        "tuning_trials": study.settings.finetune.tuning_trials.get(cell.arm, 0),
        "unlabelled_digest": None,
        "pretrained_from": None,
        "parameters": None,
        "checkpoint": result.checkpoint,
        "evaluation": result.evaluation,
        "panels": [],
    }
    if result.checkpoint is not None:
        row |= _from_checkpoint(result.checkpoint, cell)
        if (cell.episodes, cell.seed) == (max(study.settings.finetune.episodes), study.settings.finetune.seeds[0]):
            row["panels"] = _panels(study, cell, result.checkpoint)
    return row


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
    """Pictures of successes and failures, drawn once; none where the environment draws no frames."""
    from am_ray.evaluation import evaluate
    from am_ray.types import EnvironmentContractError

    folder, asked = study.folder / "panels" / cell.name, study.settings.evaluation
    if not folder.exists():
        try:
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
            )
        except EnvironmentContractError:
            return []
    return [str(path.relative_to(study.folder)) for path in sorted(folder.glob("*.png"))]


@lru_cache(maxsize=1)
def _git_commit() -> str | None:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
