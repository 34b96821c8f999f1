"""Writing a comparison beside its study, and logging it to the study's run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from am_ray.comparison.analysis import Comparison
from am_ray.comparison.differences import DifferenceRow
from am_ray.comparison.figures import curves_figure, differences_figure
from am_ray.comparison.html_report import html_report
from am_ray.comparison.markdown_report import markdown_report
from am_ray.comparison.pictures import choose_pictures
from am_ray.comparison.prose import CURVES_FIGURE, DIFFERENCES_FIGURE
from am_ray.comparison.study import Study
from am_ray.comparison.tables import write_csv
from am_ray.tracking import RunTracker

FOLDER = "comparison"


@dataclass(frozen=True)
class Written:
    """The files of a report."""

    folder: Path
    html: Path
    json: Path
    files: tuple[Path, ...]


def write_comparison(comparison: Comparison) -> Written:
    """Writes figures, tables, JSON, Markdown and HTML into ``<study>/comparison/``; a second time, over the first."""
    folder = comparison.study.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    curves_figure(comparison).savefig(folder / CURVES_FIGURE)
    differences_figure(comparison).savefig(folder / DIFFERENCES_FIGURE)
    tables = write_csv(comparison, folder)
    texts = {
        "comparison.json": json.dumps(comparison.to_json(), indent=2, allow_nan=False) + "\n",
        "report.md": markdown_report(comparison),
        "comparison.html": html_report(comparison, folder, choose_pictures(comparison.study)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    figures = (folder / CURVES_FIGURE, folder / DIFFERENCES_FIGURE)
    files = (*figures, *tables, *(folder / name for name in texts))
    return Written(folder, folder / "comparison.html", folder / "comparison.json", files)


def track_comparison(comparison: Comparison, written: Written) -> None:
    """Adds the report and its numbers to the study's own run; `am_ray.tracking.sending` sends them."""
    study = comparison.study
    tracker = RunTracker.open(study.folder, name=study.name, stage="finetune")
    # A point counts once for a step: a comparison with more cells is a later one.
    tracker.metrics(dict(comparison_metrics(comparison)), step=len(study.counted))
    for path in written.files:
        tracker.artifact(path, folder=FOLDER)
    tracker.end(_status(study))


def _status(study: Study) -> Literal["FINISHED", "FAILED", "KILLED"]:
    """How the study's run ended: ``KILLED`` before its last cell, ``FAILED`` without the outcome of a cell."""
    if study.missing or any(cell.status == "stopped" for cell in study.cells):
        return "KILLED"
    return "FINISHED" if len(study.counted) == len(study.cells) else "FAILED"


def comparison_metrics(comparison: Comparison) -> Iterator[tuple[str, float]]:
    """``comparison/<task>/<arm>/n<episodes>/...`` and ``comparison/<task>/<arm>/...`` of the whole curve; known values only."""
    prefix = f"comparison/{comparison.study.task}"
    for row in comparison.rates:
        if row.rate is not None:
            place = f"{prefix}/{row.arm}/n{row.episodes}"
            yield f"{place}/success_rate", row.rate
            yield f"{place}/success_rate_low", row.interval[0]
            yield f"{place}/success_rate_high", row.interval[1]
    for curve in comparison.curves:
        if curve.area is not None:
            yield f"{prefix}/{curve.arm}/area", curve.area
        if curve.to_threshold is not None:
            yield f"{prefix}/{curve.arm}/episodes_to_50", curve.to_threshold
    for difference in comparison.differences:
        yield from _difference(f"{prefix}/{difference.arm}/n{difference.episodes}/difference", difference)
    for difference in comparison.areas:
        yield from _difference(f"{prefix}/{difference.arm}/area_difference", difference)


def _difference(name: str, row: DifferenceRow) -> Iterator[tuple[str, float]]:
    if row.method.mean is None:
        return
    yield name, row.method.mean
    yield f"{name}_low", row.method.interval[0]
    yield f"{name}_high", row.method.interval[1]
    yield f"{name}_established", float(row.established)
    if row.p_method_holm is not None:
        yield f"{name}_p_holm", row.p_method_holm
