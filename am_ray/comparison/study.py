"""A fine-tuning study as it lies on disk: ``results.json`` and what it says of every cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.types import AmRayError

BASELINE = "scratch"
# The order in which arms stand everywhere, if they are there; others follow.
_ARM_ORDER = (BASELINE, "pretrained", "auxiliary", "pretrained_auxiliary")
SCHEMA_VERSION = 1


class ComparisonError(AmRayError):
    """A study that cannot be read, or whose arms must not be compared."""


@dataclass(frozen=True)
class Episode:
    """One evaluation episode: its start (and goal) follow from ``seed``."""

    seed: int
    success: bool
    error: str | None


@dataclass(frozen=True)
class Cell:
    """One training run of a study: an arm, a number of labelled episodes, a seed.

    Attributes:
        outcomes: Of the task that is compared, by seed; empty where the cell was not evaluated.
        record: The whole entry of ``results.json``.
    """

    name: str
    arm: str
    episodes: int
    seed: int
    status: str
    outcomes: tuple[Episode, ...]
    record: Mapping[str, Any] = field(repr=False)

    @property
    def counts(self) -> bool:
        """Whether it ended as planned and was evaluated."""
        return self.status == "completed" and bool(self.outcomes)

    @property
    def env(self) -> Any:
        return self.record["evaluation"].get("env")

    @property
    def max_steps(self) -> Any:
        return self.record["evaluation"].get("max_steps")


@dataclass(frozen=True)
class Study:
    """A study and its cells, in a fixed order.

    Attributes:
        missing: Names of the planned cells that have not ended: the study was stopped, or still runs.
    """

    folder: Path
    name: str
    task: str
    cells: tuple[Cell, ...]
    git_commit: str | None
    machine: str | None
    environment: Mapping[str, Any]
    missing: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """How many cells the whole study has."""
        return len(self.cells) + len(self.missing)

    @property
    def arms(self) -> tuple[str, ...]:
        """All arms, the baseline first."""
        names = {cell.arm for cell in self.cells}
        known = [arm for arm in _ARM_ORDER if arm in names]
        return (*known, *sorted(names.difference(known)))

    @property
    def baseline(self) -> str:
        """What the others are compared with: ``scratch``, or else the first arm."""
        return self.arms[0]

    @property
    def counted(self) -> tuple[Cell, ...]:
        """The cells that ended as planned."""
        return tuple(cell for cell in self.cells if cell.counts)

    def sizes(self, arm: str) -> tuple[int, ...]:
        """Numbers of labelled episodes for which the arm has a cell that counts."""
        return tuple(sorted({cell.episodes for cell in self.counted if cell.arm == arm}))

    def group(self, arm: str, episodes: int) -> dict[int, Cell]:
        """The cells that count of an arm at a size, by seed."""
        return {cell.seed: cell for cell in self.counted if (cell.arm, cell.episodes) == (arm, episodes)}

    @property
    def starts(self) -> tuple[int, ...]:
        """Seeds of the evaluation episodes; all cells share them."""
        return tuple(episode.seed for episode in self.counted[0].outcomes) if self.counted else ()


def size_text(episodes: int) -> str:
    """A number of labelled episodes, as reports name it."""
    return f"{episodes}" if episodes else "0 (zero-shot)"


def outcome_matrix(cells: Mapping[int, Cell], seeds: tuple[int, ...], starts: tuple[int, ...]) -> np.ndarray:
    """(seeds, starts): 1 for a success, 0 for a failure, NaN for an episode lost to the infrastructure or a missing cell."""
    matrix = np.full((len(seeds), len(starts)), np.nan)
    columns = {start: column for column, start in enumerate(starts)}
    for row, seed in enumerate(seeds):
        for episode in cells[seed].outcomes if seed in cells else ():
            if episode.error is None:
                matrix[row, columns[episode.seed]] = float(episode.success)
    return matrix


def read_study(folder: str | Path) -> Study:
    """Reads ``results.json``.

    Args:
        folder: Of the study, or the file itself.

    Raises:
        ComparisonError: It is missing, of another kind or version, or an entry is not as expected.
    """
    path = Path(folder)
    path = path if path.name.endswith(".json") else path / "results.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComparisonError(
            f"{path}: not found; expected the results of a fine-tuning study. Run 'am-ray finetune CONFIG.yaml' first, and "
            f"give the folder of its study."
        ) from error
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{path}: cannot be read ({error}). Run the same 'am-ray finetune' again.") from error
    kind = data.get("kind") if isinstance(data, dict) else None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if (kind, version) != ("finetune", SCHEMA_VERSION):
        raise ComparisonError(
            f"{path}: got kind {kind!r}, schema_version {version!r}; expected 'finetune' and {SCHEMA_VERSION}. Give the "
            f"folder of a study of 'am-ray finetune'."
        )
    try:
        return _study(path.parent, data)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ComparisonError(
            f"{path}: an entry is missing or of another form ({type(error).__name__}: {error}). Run the same "
            f"'am-ray finetune' again: it writes the file anew."
        ) from error


def _study(folder: Path, data: Mapping[str, Any]) -> Study:
    task = str(data["task"])
    cells = tuple(_cell(entry, task) for entry in data["cells"])
    places = [(cell.arm, cell.episodes, cell.seed) for cell in cells]
    double = next((place for place in places if places.count(place) > 1), None)
    if double is not None:
        raise ValueError(f"arm {double[0]}, {double[1]} episodes, seed {double[2]} is there twice")
    study = Study(
        folder,
        str(data["name"]),
        task,
        cells,
        data.get("git_commit"),
        data.get("machine"),
        data.get("environment") or {},
        # Older results do not tell: all cells are listed.
        tuple(name for name in map(str, data.get("cells_planned") or ()) if name not in {cell.name for cell in cells}),
    )
    order = {arm: rank for rank, arm in enumerate(study.arms)}
    ordered = sorted(cells, key=lambda cell: (order[cell.arm], cell.episodes, cell.seed))
    return replace(study, cells=tuple(ordered))


def _cell(entry: Mapping[str, Any], task: str) -> Cell:
    evaluation = entry.get("evaluation")
    listed = [] if evaluation is None else evaluation["tasks"].get(task, [])
    episodes = tuple(Episode(int(e["seed"]), bool(e["success"]), e.get("error")) for e in listed)
    if len({episode.seed for episode in episodes}) < len(episodes):
        raise ValueError(f"cell {entry['name']}: an evaluation episode's seed is there twice")
    return Cell(
        name=str(entry["name"]),
        arm=str(entry["arm"]),
        episodes=int(entry["episodes"]),
        seed=int(entry["seed"]),
        status=str(entry["status"]),
        outcomes=tuple(sorted(episodes, key=lambda episode: episode.seed)),
        record=entry,
    )
