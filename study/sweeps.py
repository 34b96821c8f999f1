"""Rows of tables that are trials of a sweep, and evaluations of their networks acting otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.outcomes import Cell, cell, evaluated_cell, evaluation_source, read_json, read_sweep


@dataclass(frozen=True)
class SweepRow:
    """A line of a table: the trials of a sweep that have these values.

    Attributes:
        label: Of the line.
        sweep: Its folder's name, and its config's in ``tune_configs/study/``.
        where: Values of the trials.
        acting: How the critic acts, if not as it was trained to: the same networks, evaluated once more. Of sweeps over the seed alone.
        seeds: That are evaluated once more, some of the trials' or all.
    """

    label: str
    sweep: str
    where: Mapping[str, Any] = field(default_factory=dict)
    acting: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def key(self) -> str:
        """Of where its numbers come from, in the table's file."""
        return self.sweep if self.acting is None else f"{self.sweep}_{self.acting}"

    def folder(self, seed: int) -> str:
        """Of a trial, in the folder of the runs."""
        return f"{self.sweep}/trials/seed={seed}"

    def evaluation(self, seed: int) -> str:
        """What its evaluation once more writes, in the folder of the runs."""
        return f"acting/{self.key}_{seed}.json"

    def cell(self, runs: Path) -> Cell | None:
        """Of what ran to its end there, or None.

        Raises:
            ValueError: Evaluations of the row did not meet the same starts.
        """
        found = cell(read_sweep(runs / self.sweep), self.where)
        if self.acting is None or found is None:
            return found
        evaluations = self._evaluations(runs)
        return evaluated_cell(evaluations, updates=found.updates, minutes=found.minutes) if evaluations else None

    def source(self, runs: Path) -> dict[str, Any]:
        """Where the numbers come from; the commit and the machine are those of the training."""
        results = read_json(runs / self.sweep / "results.json")
        trained = {
            "config": f"tune_configs/study/{self.sweep}.yaml",
            "git_commit": results["git_commit"],
            "machine": results["machine"],
        }
        if self.acting is not None:
            return trained | evaluation_source(next(iter(self._evaluations(runs).values())))
        evaluations = [trial["evaluation"] for trial in results["trials"] if trial["evaluation"]]
        first: dict[str, Any] = evaluations[0] if evaluations else {}
        return trained | {"evaluation_seed": first.get("seed"), "max_steps": first.get("max_steps")}

    def _evaluations(self, runs: Path) -> dict[int, dict[str, Any]]:
        found = {seed: read_json(runs / self.evaluation(seed)) for seed in self.seeds}
        return {seed: content for seed, content in found.items() if content}
