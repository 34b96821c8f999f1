"""The report's tables: for people as text, for programs as CSV."""

from __future__ import annotations

import csv
import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from am_ray.comparison.analysis import Comparison
from am_ray.comparison.conditions import NOT_STATED, ArmBudget
from am_ray.comparison.curves import CurveRow, RateRow
from am_ray.comparison.differences import NOT_ESTABLISHED, DifferenceRow
from am_ray.comparison.intervals import Interval
from am_ray.comparison.study import size_text

if TYPE_CHECKING:
    from rich.table import Table

_DASH = "–"
# Of a column's head in the terminal, in characters.
_HEAD_WIDTH = 11


@dataclass(frozen=True)
class TextTable:
    """A table as text.

    Attributes:
        title: Stands above it.
        caption: How it is read; stands below it.
        columns: Heads; the first column is left-aligned, the last one too where it holds words.
        narrow: The columns that a terminal shows.
        narrow_caption: How those are read.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    narrow: tuple[str, ...]
    narrow_caption: str


def text_tables(comparison: Comparison) -> list[TextTable]:
    """All tables, in the order of the report."""
    return [
        _rates(comparison.rates),
        _curves(comparison.curves),
        _differences([*comparison.differences, *comparison.areas]),
        _budgets(comparison.budgets),
    ]


def rich_table(table: TextTable) -> Table:
    """The same for the terminal: fewer columns, heads of several lines, so that 80 columns are enough for short names of arms."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(
        title=table.title,
        caption=table.narrow_caption,
        title_justify="left",
        caption_justify="left",
        show_edge=False,
    )
    for column in table.narrow:
        words = column == "verdict"
        left = words or column == table.columns[0]
        head = Text(textwrap.fill(column, _HEAD_WIDTH))
        shown.add_column(head, justify="left" if left else "right", no_wrap=not words)
    places = [table.columns.index(column) for column in table.narrow]
    for row in table.rows:
        shown.add_row(*(Text(row[place].replace(NOT_ESTABLISHED, "not established")) for place in places))
    return shown


def write_csv(comparison: Comparison, folder: Path) -> list[Path]:
    """``success.csv``, ``curves.csv``, ``differences.csv`` and ``budget.csv``, numbers unrounded, unknown ones empty."""
    data = comparison.to_json()
    tables = {
        "success.csv": (RateRow, data["success"]),
        "curves.csv": (CurveRow, data["curves"]),
        "differences.csv": (DifferenceRow, [*data["differences"], *data["area_differences"]]),
        "budget.csv": (ArmBudget, data["budget"]),
    }
    paths = []
    for name, (kind, rows) in tables.items():
        flat = [_flat(row) for row in rows]
        columns = list(flat[0]) if flat else [field.name for field in dataclasses.fields(kind)]
        columns += [column for row in flat for column in row if column not in columns]
        with (folder / name).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(dict.fromkeys(columns)))
            writer.writeheader()
            writer.writerows(flat)
        paths.append(folder / name)
    return paths


def _rates(rows: Sequence[RateRow]) -> TextTable:
    return TextTable(
        "Success rates",
        "In %. 95 % CI: seeds and starts vary (Wilson for one seed, about that policy only). Bootstrap: seeds, then starts; "
        "too narrow with few seeds. IQM: interquartile mean over seeds, the mean where there are fewer than 4.",
        ("arm", "labelled", "seeds", "episodes/seed", "lost", "mean", "95 % CI", "bootstrap CI", "IQM", "IQM CI"),
        tuple(
            (
                row.arm,
                size_text(row.episodes),
                f"{row.seeds}",
                _span(row.episodes_per_seed),
                f"{row.infrastructure_failures}",
                _percent(row.rate),
                _interval(row.interval) + (" W" if row.seeds == 1 else ""),
                _interval(row.bootstrap),
                _percent(row.iqm),
                _interval(row.iqm_interval),
            )
            for row in rows
        ),
        ("arm", "labelled", "seeds", "lost", "mean", "95 % CI"),
        "In %. 95 % CI: seeds and starts vary (W: one seed, Wilson, about that policy only).",
    )


def _curves(rows: Sequence[CurveRow]) -> TextTable:
    sizes = rows[0].sizes if rows else ()
    over = f"between the sizes that all arms have ({', '.join(map(str, sizes))})"
    caption = (
        "Area: mean success rate over numbers of labelled episodes, linear axis, straight lines "
        + (over if len(sizes) > 1 else "between sizes; all arms have fewer than two in common, so there is none")
        + "; zero-shot is no part of it. Episodes to 50 %: on the mean curve."
    )
    columns = ("arm", "area under the curve, %", "95 % CI", "seeds", "episodes to 50 %")
    lines = tuple(
        (row.arm, _percent(row.area), _interval(row.area_interval), f"{row.area_seeds}", row.to_threshold_text)
        for row in rows
    )
    return TextTable("Curves", caption, columns, lines, columns, caption)


def _differences(rows: Sequence[DifferenceRow]) -> TextTable:
    baseline = rows[0].baseline if rows else "the baseline"
    return TextTable(
        f"Paired differences against {baseline}",
        "In points. Method: other seeds, other starts; t interval, its p, and that p after Holm over the rows of its kind; exact "
        "p by sign flips of the seeds. These policies: seeds as they are, other starts; their p by sign flips of the starts, "
        "exact. P(better), in %: a run of the arm beats a run of the baseline, ties half; runs are the unit.",
        (
            *("arm", "labelled", "seeds", "pairs", "method", "verdict", "p", "p Holm", "exact p"),
            *("these policies", "their p", "P(better)"),
        ),
        tuple(_difference(row) for row in rows),
        ("arm", "labelled", "method", "p Holm", "these policies", "verdict"),
        "In points. Method: other seeds, other starts. p Holm: its p after Holm's correction. These policies: other starts only. "
        "Exact p and all else: in the report.",
    )


def _difference(row: DifferenceRow) -> tuple[str, ...]:
    return (
        row.arm,
        row.where,
        f"{row.seeds}",
        f"{row.pairs}" + (f" ({row.excluded_pairs} lost)" if row.excluded_pairs else ""),
        _signed(row.method.mean) + (f" {_signed_interval(row.method.interval)}" if row.seeds > 1 else ""),
        row.short_verdict,
        _p(row.method.p),
        _p(row.p_method_holm),
        _p(row.p_exact),
        _signed_interval(row.policies.interval),
        _p(row.p_policies),
        _percent(row.improvement) + f" {_interval(row.improvement_interval)}",
    )


def _budgets(rows: Sequence[ArmBudget]) -> TextTable:
    return TextTable(
        "Budgets",
        "Of fine-tuning, per cell; the digests of the labelled data are equal seed by seed, or the comparison would have been "
        "refused. Transitions per update: labelled ones and those without labels. Scale from: the data whose mean and spread "
        "standardise the inputs. Zero-shot: nothing is learnt (one update at learning rate 0). Pre-training is listed below, "
        "not counted here.",
        (
            *("arm", "labelled", "cells", "updates", "batch", "transitions per update", "scale from", "parameters"),
            *("minutes", "tuning trials", "labelled data"),
        ),
        tuple(
            (
                row.arm,
                size_text(row.episodes),
                f"{row.cells}",
                *_learning(row),
                row.scale_from or _DASH,
                row.parameters or _DASH,
                _DASH if row.minutes is None else f"{row.minutes:.1f}",
                row.tuning_trials or NOT_STATED,
                _digests(row),
            )
            for row in rows
        ),
        ("arm", "labelled", "updates", "transitions per update", "parameters", "minutes", "tuning trials"),
        "Of fine-tuning, per cell. Pre-training is not counted here.",
    )


def _learning(row: ArmBudget) -> tuple[str, str, str]:
    """Updates, batch, and transitions per update; zero-shot learns nothing."""
    if row.episodes == 0:
        return "none", _DASH, _DASH
    return row.updates or _DASH, row.batch_size or _DASH, row.transitions_per_update or _DASH


def _digests(row: ArmBudget) -> str:
    """The first digest, and how many more there are: all of them are in the JSON."""
    if row.episodes == 0:
        return "none"
    known = [str(digest) for digest in row.labelled.values() if digest]
    return "none" if not known else known[0][:8] + (f" and {len(known) - 1} more" if len(known) > 1 else "")


def _flat(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Intervals become ``_low`` and ``_high``, mappings one column per key, lists words."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        key = str(name)
        if key.endswith("interval") or key == "bootstrap":
            low, high = value if value is not None else (None, None)
            flat |= {f"{key}_low": low, f"{key}_high": high}
        elif isinstance(value, Mapping):
            flat |= {f"{key}_{inner}": item for inner, item in _flat(value).items()}
        elif isinstance(value, list | tuple):
            flat[key] = " ".join(map(str, value))
        else:
            flat[key] = value
    return flat


def _percent(value: float | None) -> str:
    return _DASH if value is None else f"{100 * value:.0f}"


def _interval(interval: Interval | None) -> str:
    return _DASH if interval is None else f"[{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def _signed(value: float | None) -> str:
    return _DASH if value is None else f"{100 * value:+.0f}"


def _signed_interval(interval: Interval) -> str:
    return f"[{100 * interval[0]:+.0f}, {100 * interval[1]:+.0f}]"


def _p(p: float | None) -> str:
    if p is None:
        return _DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _span(values: tuple[int, int]) -> str:
    return f"{values[0]}" if values[0] == values[1] else f"{values[0]}–{values[1]}"
