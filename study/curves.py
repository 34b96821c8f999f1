"""Learning curves: success on the way of a training, from the checkpoints that the trials of a sweep keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from study.outcomes import Cell, cell, difference, evaluated_cell, read_json, read_sweep
from study.sweeps import SweepRow
from study.texts import difference_text, rate_text, task_title

CURVES_TABLE = "learning_curves"
CURVE_GOALS = 100  # of each task, the first of those that the end is evaluated on
CURVE_UPDATES = (5_000, 10_000, 20_000)  # on the way; multiples of training.checkpoint_every


@dataclass(frozen=True)
class CurveRow:
    """A point of a curve: training seeds after so many updates.

    Attributes:
        method: Name of the curve.
        sweep: Over the seed alone; its config keeps all checkpoints.
        updates: The sweep's own number: its end, which was evaluated already.
        seeds: Of training; the sweep may have more.
    """

    method: str
    sweep: str
    updates: int
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def label(self) -> str:
        return f"{self.method}, {self.updates:,} updates"

    @property
    def key(self) -> str:
        """Of where its numbers come from, in the table's file."""
        return self.sweep

    def checkpoint(self, seed: int) -> str:
        """In the folder of the runs."""
        return f"{SweepRow(self.method, self.sweep).folder(seed)}/checkpoint-{self.updates:09d}"

    def evaluation(self, seed: int) -> str:
        """What its evaluation writes, in the folder of the runs."""
        return f"curves/{self.sweep}_{self.updates}_{seed}.json"

    def cell(self, runs: Path) -> Cell | None:
        """Of what ran to its end there, or None; its minutes are a share of the training's.

        Raises:
            ValueError: Evaluations of the row did not meet the same starts.
        """
        trained = cell([t for t in read_sweep(runs / self.sweep) if t["values"]["seed"] in self.seeds], {})
        if trained is None:
            return None
        if self.updates == trained.updates:
            return _first_starts(trained, CURVE_GOALS)
        found = {seed: read_json(runs / self.evaluation(seed)) for seed in self.seeds}
        evaluations = {seed: content for seed, content in found.items() if content}
        minutes = trained.minutes * self.updates / trained.updates
        return evaluated_cell(evaluations, updates=self.updates, minutes=minutes) if evaluations else None

    def source(self, runs: Path) -> dict[str, Any]:
        """Where the numbers come from; the commit and the machine are those of the training."""
        return SweepRow(self.method, self.sweep).source(runs)


def curve_rows(*curves: tuple[str, str], end: int) -> tuple[CurveRow, ...]:
    """The points of curves, each ``(method, sweep)`` of ``end`` updates."""
    return tuple(CurveRow(*curve, updates) for curve in curves for updates in (*CURVE_UPDATES, end))


def curves_of(cells: Mapping[str, Cell]) -> dict[str, dict[int, Cell]]:
    """By method and number of updates, from rows by `CurveRow.label`."""
    curves: dict[str, dict[int, Cell]] = {}
    for label, found in cells.items():
        curves.setdefault(label.rsplit(", ", 1)[0], {})[found.updates] = found
    return curves


def curves_markdown(cells: Mapping[str, Cell]) -> str:
    """The points as a table, in per cent with 95 % intervals; below those of one number of updates the first curve's difference to the others."""
    curves = curves_of(cells)
    first, *others = curves
    tasks = list(next(iter(cells.values())).outcomes)
    lines = [
        f"| updates | | {' | '.join(task_title(task) for task in tasks)} | seeds |",
        "|---" * (len(tasks) + 3) + "|",
    ]
    for updates in sorted({updates for points in curves.values() for updates in points}):
        here = {method: points[updates] for method, points in curves.items() if updates in points}
        for method, found in here.items():
            rates = [rate_text(found.rate(task), found.interval(task)) for task in tasks]
            lines.append(f"| {updates:,} | {method} | {' | '.join(rates)} | {len(found.seeds)} |")
        for method in others if first in here else []:
            if method in here:
                pairs = [difference(here[first], here[method], task) for task in tasks]
                shown = ["" if d.mean is None else difference_text(d.mean, d.interval) for d in pairs]
                lines.append(f"| | *{first} - {method[0].lower() + method[1:]}* | {' | '.join(shown)} | |")
    return "\n".join(lines)


def _first_starts(found: Cell, number: int) -> Cell:
    return replace(
        found,
        starts={task: starts[:number] for task, starts in found.starts.items()},
        outcomes={task: matrix[:, :number] for task, matrix in found.outcomes.items()},
    )
