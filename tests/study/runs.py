"""Finished runs of a study, made up: one character an episode, as docs/results/*.json has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.plan import EVALUATION_SEED

TASK = "instance_grasping"


def write_sweep(
    folder: Path,
    episodes: dict[tuple[float, int], str],
    key: str = "algorithm.relabel.chaining_ratio",
    seeds: Sequence[int] = range(7, 1000),
) -> None:
    """A finished sweep; of each trial one character an episode, as docs/results/*.json has them."""
    trials: list[dict[str, Any]] = []
    for (value, seed), outcomes in episodes.items():
        listed = [
            {
                "seed": seeds[n],
                "success": c == "1",
                "success_any_step": c == "1",
                "error": "crash" if c == "-" else None,
            }
            for n, c in enumerate(outcomes)
        ]
        trials.append(
            {
                "status": "completed",
                "values": {"seed": seed, key: value},
                "update": 100,
                "minutes": 2.0,
                "evaluation": {"seed": 100, "max_steps": None, "tasks": {TASK: listed}},
            }
        )
    folder.mkdir(parents=True)
    content = {"trials": trials, "git_commit": "abc", "machine": "x86_64"}
    (folder / "results.json").write_text(json.dumps(content))


def write_evaluation(
    path: Path, outcomes: str, *, seed: int = EVALUATION_SEED, acting: str | None = None, max_steps: int | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": seed, "max_steps": max_steps, "acting": acting, "tasks": {TASK: {"outcomes": outcomes}}}
    path.write_text(json.dumps(content))
