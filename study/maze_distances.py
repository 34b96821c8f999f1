"""The published PointMaze table once more, by how far the goals are from the start.

It needs ``pip install -e '.[study]'``; then ``python -m study.maze_distances`` prints the table.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from study.outcomes import Cell, difference, published_cells
from study.point_maze import ENV_ID, Navigator
from study.report import RESULTS
from study.texts import difference_text, rate_text

# From so many to so many cells between start and goal, both included; an episode of play covers about three.
BANDS = ((1, 3), (4, 6), (7, 99))


def goal_distances(starts: Sequence[int]) -> np.ndarray:
    """Cells between start and goal of the evaluation episodes with these seeds, ``(starts,)``."""
    env: Any = gymnasium.make(ENV_ID, disable_env_checker=True)
    navigator = Navigator(env.unwrapped.maze)
    cells = []
    for seed in starts:
        observation, _ = env.reset(seed=int(seed))
        start, goal = (navigator.cell_of(observation[key]) for key in ("achieved_goal", "desired_goal"))
        cells.append(navigator.steps_to(goal)[start])
    env.close()
    return np.array(cells)


def distance_lines(cells: Mapping[str, Cell], distances: np.ndarray) -> list[str]:
    """The table: per cent with 95 % intervals over seeds and starts, then the first row's paired difference to the others."""
    kept = [(low, high, (distances >= low) & (distances <= high)) for low, high in BANDS]
    titles = [f"{_band(low, high)} ({mask.sum()})" for low, high, mask in kept]
    parts = {label: [_only(cell, mask) for _, _, mask in kept] for label, cell in cells.items()}
    rows = [
        (label, [rate_text(c.rate("default"), c.interval("default")) for c in part]) for label, part in parts.items()
    ]
    first, *others = parts
    for label in others:
        pairs = zip(parts[first], parts[label], strict=True)
        found = [difference(one, other, "default") for one, other in pairs]
        rows.append(
            (f"*{first} - {label}*", ["" if d.mean is None else difference_text(d.mean, d.interval) for d in found])
        )
    head = ["| | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    return head + [f"| {label} | " + " | ".join(texts) + " |" for label, texts in rows]


def _only(cell: Cell, mask: np.ndarray) -> Cell:
    starts = tuple(np.array(cell.starts["default"])[mask].tolist())
    return dataclasses.replace(
        cell, starts={"default": starts}, outcomes={"default": cell.outcomes["default"][:, mask]}
    )


def _band(low: int, high: int) -> str:
    return f"{low} or more cells" if high >= BANDS[-1][1] else f"{low} to {high} cells"


def main() -> None:
    content = json.loads((RESULTS / "point_maze.json").read_text(encoding="utf-8"))
    cells = published_cells(content)
    if not cells:
        raise SystemExit(f"{RESULTS / 'point_maze.json'}: its rows did not meet the same goals; run the study again")
    starts = next(iter(cells.values())).starts["default"]
    print("\n".join(distance_lines(cells, goal_distances(starts))))


if __name__ == "__main__":
    main()
