"""Episodes of finished sweeps and evaluations as matrices (seeds, starts), and what can be said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.comparison.intervals import (
    DifferenceEstimate,
    Interval,
    method_difference,
    policies_difference,
    rate_interval,
)
from am_ray.evaluation.tasks import episode_seeds


@dataclass(frozen=True)
class Cell:
    """Trained policies that differ in their seed alone.

    Attributes:
        seeds: Training seeds, rising.
        starts: Seeds of the evaluation episodes of each task; the same for every training seed.
        outcomes: Of each task, ``(seeds, starts)``: 1 success, 0 none, NaN an episode lost to the infrastructure.
        updates: Of training.
        minutes: Of training, the mean over the seeds; rounded as docs/results/ has it.
    """

    seeds: tuple[int, ...]
    starts: Mapping[str, tuple[int, ...]]
    outcomes: Mapping[str, np.ndarray]
    updates: int
    minutes: float

    def rate(self, task: str) -> float:
        """The mean over seeds of their success rates, in [0, 1]."""
        return float(np.nanmean(self.outcomes[task], axis=1).mean())

    def interval(self, task: str) -> Interval:
        """95 %, over seeds and starts; with one seed over starts alone."""
        return rate_interval(self.outcomes[task])


def read_sweep(folder: Path) -> list[dict[str, Any]]:
    """The trials that ran to their end, from a sweep's ``results.json``; none if it has not been run."""
    path = folder / "results.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    return [trial for trial in content["trials"] if trial["status"] == "completed" and trial["evaluation"]]


def cell(trials: Sequence[Mapping[str, Any]], where: Mapping[str, Any]) -> Cell | None:
    """Of the trials that have these values, or None if there are none; those with other starts than the first are left out."""
    chosen = [t for t in trials if all(t["values"].get(key) == value for key, value in where.items())]
    chosen.sort(key=lambda trial: int(trial["values"]["seed"]))
    if not chosen:
        return None
    starts = {name: tuple(e["seed"] for e in episodes) for name, episodes in chosen[0]["evaluation"]["tasks"].items()}
    alike = [
        t for t in chosen if {n: tuple(e["seed"] for e in x) for n, x in t["evaluation"]["tasks"].items()} == starts
    ]
    return Cell(
        seeds=tuple(int(trial["values"]["seed"]) for trial in alike),
        starts=starts,
        outcomes={
            name: np.array([_outcomes(trial["evaluation"]["tasks"][name]) for trial in alike]) for name in starts
        },
        updates=int(alike[0]["update"]),
        minutes=_shown_minutes(float(np.mean([trial["minutes"] for trial in alike]))),
    )


def evaluated_cell(evaluations: Mapping[int, Mapping[str, Any]], *, updates: int, minutes: float) -> Cell:
    """Of what `am-ray evaluate --json` wrote of checkpoints, by training seed; they met the same starts.

    Args:
        evaluations: At least one.
        updates: Of their training.
        minutes: Of their training.

    Raises:
        ValueError: They did not meet the same starts in the same way.
    """
    seeds = tuple(sorted(evaluations))
    asked = [_asked(evaluations[seed]) for seed in seeds]
    actings = {evaluations[seed]["acting"] for seed in seeds} - {
        None
    }  # before 2026-11-28 it was null where nothing was asked for
    if any(other != asked[0] for other in asked) or len(actings) > 1:
        raise ValueError(
            f"evaluations of one row, training seeds {seeds}: got {asked}, acting by {sorted(actings)}; expected the same starts and the same acting of all. "
            f"Delete those that differ and run the study again."
        )
    first = evaluations[seeds[0]]
    starts = _starts(first["seed"], {name: len(task["outcomes"]) for name, task in first["tasks"].items()})
    outcomes = {
        name: np.concatenate([episode_row(evaluations[seed]["tasks"][name]["outcomes"]) for seed in seeds])
        for name in starts
    }
    return Cell(seeds, starts, outcomes, updates, _shown_minutes(minutes))


def _asked(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What an evaluation was asked for."""
    numbers = {name: len(task["outcomes"]) for name, task in evaluation["tasks"].items()}
    return {name: evaluation[name] for name in ("seed", "max_steps")} | {"episodes": numbers}


def evaluation_source(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What a table's file tells of where its numbers come from."""
    return {
        "acting": evaluation["acting"],
        "evaluation_seed": evaluation["seed"],
        "max_steps": evaluation["max_steps"],
    }


def published_cells(content: Mapping[str, Any]) -> dict[str, Cell]:
    """Of a table's file in docs/results/, by label: the starts follow from the evaluation seed."""
    seeds = {sweep["evaluation_seed"] for sweep in content.get("sweeps", {}).values()}
    if len(seeds) != 1:  # rows that did not meet the same starts are not compared
        return {}
    (evaluation_seed,) = seeds
    return {
        label: Cell(
            seeds=tuple(row["seeds"]),
            starts=_starts(evaluation_seed, {name: task["n"] for name, task in row["tasks"].items()}),
            outcomes={
                name: np.concatenate([episode_row(line) for line in task["episodes"]])
                for name, task in row["tasks"].items()
            },
            updates=int(row["updates"]),
            minutes=float(row["minutes"]),
        )
        for label, row in content["rows"].items()
    }


def episode_row(text: str) -> np.ndarray:
    """A policy's episodes ``(1, starts)`` from a character for each: 1 success, 0 none, - (here NaN) lost to the infrastructure."""
    return np.array([[np.nan if one == "-" else float(one) for one in text]])


def difference(one: Cell, other: Cell, task: str) -> DifferenceEstimate:
    """Paired by seed and start: over new seeds and starts, or over starts alone where a single seed is shared."""
    shared = [seed for seed in one.seeds if seed in other.seeds]
    if not shared or one.starts[task] != other.starts[task]:
        return DifferenceEstimate(None, (-1.0, 1.0), None)
    pairs = one.outcomes[task][[one.seeds.index(s) for s in shared]]
    pairs = pairs - other.outcomes[task][[other.seeds.index(s) for s in shared]]
    return method_difference(pairs) if len(shared) > 1 else policies_difference(pairs)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's content; nothing if there is no such file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _shown_minutes(minutes: float) -> float:
    """Rounded once, so that a table reads the same from a run and from what was published of it."""
    return round(minutes, 2)


def _starts(evaluation_seed: int, numbers: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Seeds of the episodes of each task, of which there are so many."""
    return {name: tuple(episode_seeds(evaluation_seed, name, number)) for name, number in numbers.items()}


def _outcomes(episodes: Sequence[Mapping[str, Any]]) -> list[float]:
    return [np.nan if episode["error"] is not None else float(episode["success"]) for episode in episodes]
