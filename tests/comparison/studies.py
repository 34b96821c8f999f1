"""Synthetic studies: results.json as `am-ray finetune` writes it, from known success rates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

STARTS = 50


def cell(
    arm: str, episodes: int, seed: int, outcomes: Sequence[bool | None], *, first_start: int = 100, **changes: Any
) -> dict[str, Any]:
    """One entry; an outcome of None is an episode lost to the infrastructure."""
    listed = [
        {
            "seed": first_start + index,
            "success": bool(outcome),
            "success_any_step": bool(outcome),
            "error": "worker died" if outcome is None else None,
        }
        for index, outcome in enumerate(outcomes)
    ]
    entry = {
        "name": f"{arm}-n{episodes}-s{seed}",
        "arm": arm,
        "episodes": episodes,
        "seed": seed,
        "status": "completed",
        "error": None,
        "updates": 3000 if episodes else 0,
        "updates_planned": 3000 if episodes else 0,
        "batch_size": 256,
        "parameters": 123_456,
        "minutes": 1.2,
        "labelled_digest": f"digest-{episodes}-{seed}" if episodes else None,
        "unlabelled_digest": "auxiliary-data" if "auxiliary" in arm else None,
        "settings_sha256": f"sha-{arm}",
        "learning_rate": 0.0005 if episodes else 0.0,
        "tuning_trials": 0,
        "pretrained_from": {"path": "runs/pre", "update": 40_000, "dataset_digest": "abc"}
        if arm.startswith("pretrained")
        else None,
        "checkpoint": "trials/x/checkpoint-00003000",
        "successful_labelled_episodes": episodes // 5,
        "evaluation": {
            "env": {"id": "am_ray/Tray-v0", "kwargs": {"objects": ["box"]}},
            "seed": 1,
            "episodes": len(outcomes),
            "max_steps": None,
            "tasks": {"grasp_box": listed},
        },
        "panels": [],
    }
    return {**entry, **changes}


def write(folder: Path, cells: Sequence[Mapping[str, Any]], **changes: Any) -> Path:
    """Writes the study and returns its folder."""
    data = {
        "schema_version": 1,
        "kind": "finetune",
        "name": folder.name,
        "git_commit": "0123456789abcdef",
        "machine": "2 cores",
        "environment": {"id": "am_ray/Tray-v0", "kwargs": {"objects": ["box"]}},
        "task": "grasp_box",
        "cells": list(cells),
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data))
    return folder


def draw_outcomes(
    rng: np.random.Generator,
    level: float,
    *,
    seeds: int,
    starts: int = STARTS,
    seed_spread: float = 0.5,
    start_effects: np.ndarray | None = None,
) -> np.ndarray:
    """(seeds, starts) bool; on the logit scale: a level, an effect of the seed, an effect of the start."""
    logits = level + seed_spread * rng.normal(size=(seeds, 1))
    logits = logits + (np.zeros(starts) if start_effects is None else start_effects)
    return np.asarray(rng.random((seeds, starts)) < 1 / (1 + np.exp(-logits)))


def example_cells(
    levels: Mapping[str, Mapping[int, float]], *, seeds: int = 3, starts: int = STARTS, generator_seed: int = 0
) -> list[dict[str, Any]]:
    """Cells of arms whose level (logit of the success rate) at each size is given."""
    rng = np.random.default_rng(generator_seed)
    effects = 1.0 * rng.normal(size=starts)
    cells = []
    for arm, by_size in levels.items():
        for size, level in by_size.items():
            drawn = draw_outcomes(rng, level, seeds=seeds, starts=starts, start_effects=effects)
            cells += [cell(arm, size, seed, drawn[seed].tolist()) for seed in range(seeds)]
    return cells


EXAMPLE_LEVELS = {
    "scratch": {0: -5.0, 25: -3.0, 50: -2.0, 100: -0.8, 200: 0.6},
    "pretrained": {0: -2.5, 25: -0.5, 50: 0.3, 100: 0.6, 200: 0.9},
    "auxiliary": {25: -0.8, 50: -0.4, 100: 0.4, 200: 0.8},
}
