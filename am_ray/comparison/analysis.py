"""A study's comparison: everything that the report says, as numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from am_ray.comparison.conditions import ArmBudget, budgets, cautions, check_alike, pretraining_sources
from am_ray.comparison.curves import CurveRow, RateRow, curve_rows, rate_rows
from am_ray.comparison.differences import LEVEL, DifferenceRow, area_rows, difference_rows
from am_ray.comparison.resampling import smallest_sign_flip_p
from am_ray.comparison.study import Study, size_text


@dataclass(frozen=True)
class Comparison:
    """The numbers of a report.

    Attributes:
        conclusions: What they amount to, in sentences.
        notes: What limits them: missing cells, few seeds, unequal arms.
        pretraining: Arm to the checkpoints it started from.
    """

    study: Study
    rates: tuple[RateRow, ...]
    curves: tuple[CurveRow, ...]
    differences: tuple[DifferenceRow, ...]
    areas: tuple[DifferenceRow, ...]
    budgets: tuple[ArmBudget, ...]
    pretraining: Mapping[str, list[Mapping[str, Any]]]
    conclusions: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, none of them NaN: what is not known is null, and its interval the whole range."""
        study = self.study
        return {
            "schema_version": 1,
            "kind": "comparison",
            "study": study.name,
            "task": study.task,
            "git_commit": study.git_commit,
            "machine": study.machine,
            "environment": dict(study.environment),
            "baseline": study.baseline if study.arms else None,
            "evaluation_starts": list(study.starts),
            "cells": {"planned": study.planned, "counted": len(study.counted), "missing": list(study.missing)},
            "conclusions": list(self.conclusions),
            "notes": list(self.notes),
            "success": [dataclasses.asdict(row) for row in self.rates],
            "curves": [dataclasses.asdict(row) for row in self.curves],
            "differences": [dataclasses.asdict(row) for row in self.differences],
            "area_differences": [dataclasses.asdict(row) for row in self.areas],
            "budget": [dataclasses.asdict(row) for row in self.budgets],
            "pretrained_from": {arm: list(sources) for arm, sources in self.pretraining.items()},
        }


def compare(study: Study) -> Comparison:
    """Compares the arms of a study with its baseline.

    Raises:
        ComparisonError: The arms were not treated alike.
    """
    check_alike(study)
    rates = rate_rows(study)
    differences, areas = difference_rows(study), area_rows(study)
    return Comparison(
        study=study,
        rates=tuple(rates),
        curves=tuple(curve_rows(study, rates)),
        differences=tuple(differences),
        areas=tuple(areas),
        budgets=tuple(budgets(study)),
        pretraining=pretraining_sources(study),
        conclusions=tuple(_conclusions(study, differences, areas)),
        notes=(*_missing(study), *_few_seeds([*differences, *areas]), *_losses(rates), *cautions(study)),
    )


def _conclusions(study: Study, differences: list[DifferenceRow], areas: list[DifferenceRow]) -> list[str]:
    if not study.counted:
        return ["No cell has ended yet: there is nothing to compare."]
    if len(study.arms) == 1:
        return [f"There is one arm ({study.arms[0]}): there is nothing to compare it with."]
    sentences = []
    for arm in study.arms[1:]:
        overall = next((row for row in areas if row.arm == arm), None)
        if overall is not None:
            sentences.append(f"{_claim(overall)} over the whole curve: {overall.verdict}.")
        rows = [row for row in differences if row.arm == arm]
        if not rows:
            sentences.append(f"{arm} and {study.baseline} have no number of labelled episodes in common.")
        sentences += [f"{_claim(row)} with {row.where} labelled episodes: {row.verdict}." for row in rows]
    return sentences


def _claim(row: DifferenceRow) -> str:
    if row.method.mean is None:
        return f"{row.arm} against {row.baseline}"
    points = f"{row.arm} against {row.baseline}: {100 * row.method.mean:+.0f} points"
    low, high = (row.policies if row.seeds == 1 else row.method).interval
    return f"{points} [{100 * low:+.0f}, {100 * high:+.0f}]" + (" for these policies" if row.seeds == 1 else "")


def _missing(study: Study) -> list[str]:
    """Cells that do not count, and why; and those that the results do not even name."""
    notes = []
    for cell in study.cells:
        if not cell.counts:
            reason = cell.record.get("error") or ("not evaluated" if cell.status == "completed" else cell.status)
            first_line = str(reason).strip().splitlines()[0] if str(reason).strip() else cell.status
            notes.append(f"Left out: cell {cell.name} ({cell.status}: {first_line[:160]}). Its seed is missing there.")
    if study.missing:
        return [_early(study), *notes]
    seeds = {cell.seed for cell in study.cells}
    for arm, size in sorted({(cell.arm, cell.episodes) for cell in study.cells}):
        lacking = seeds - {cell.seed for cell in study.cells if (cell.arm, cell.episodes) == (arm, size)}
        if lacking:
            named = ", ".join(map(str, sorted(lacking)))
            notes.append(f"Missing: arm {arm} with {size_text(size)} labelled episodes has no cell of seed {named}.")
    return notes


def _early(study: Study) -> str:
    return (
        f"The study is not at its end: {len(study.missing)} of {study.planned} cells are missing ({study.missing[0]}, ...). Whoever "
        f"looks at a study before its end and stops it when it looks good has p values and intervals that are not valid: "
        f"read them when all cells have ended."
    )


def _few_seeds(rows: list[DifferenceRow]) -> list[str]:
    notes, numbers = [], sorted({row.seeds for row in rows if row.seeds > 0})
    if 1 in numbers:
        notes.append(
            "One seed: intervals are Wilson's and tell of these policies only; another seed of the same method may do "
            "better or worse."
        )
    few = [
        f"{smallest_sign_flip_p(n):.3g} with {n} seeds" for n in numbers if n > 1 and smallest_sign_flip_p(n) > LEVEL
    ]
    if few:
        notes.append(
            f"The exact test over seeds cannot give a p below {', '.join(few)}. An interval that leaves out 0 then rests on "
            f"seeds varying roughly like a normal distribution."
        )
    return notes


def _losses(rates: list[RateRow]) -> list[str]:
    lost = [
        f"{row.infrastructure_failures} of {row.arm} with {size_text(row.episodes)} labelled episodes"
        for row in rates
        if row.infrastructure_failures
    ]
    if not lost:
        return []
    return [
        f"Evaluation episodes lost to the infrastructure: {', '.join(lost)}. They are left out; of a pair, both are."
    ]
