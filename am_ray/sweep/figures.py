"""A sweep in one picture: a line with intervals for one setting, a heat map for two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from am_ray.sweep.plan import SEED, SweepPlan, shown
from am_ray.sweep.results import Counts, Group, groups
from am_ray.sweep.search import GRID
from am_ray.trials.trial import SUCCESS_RATE, TrialResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOR = "#1f5f8b"


def write_figure(plan: SweepPlan, results: Sequence[TrialResult], path: Path) -> bool:
    """Writes the picture that fits what was varied.

    Returns:
        Whether there is one: for one setting, or a grid over two.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    keys = [key for key in plan.factors if key != SEED]
    listed = groups(plan, results)
    failed = sum(len(group.failed) for group in listed)
    found = [group for group in listed if group.mean is not None]
    grid = all(GRID in plan.settings.sweep.search[key] for key in keys)
    if not found or not (len(keys) == 1 or (len(keys) == 2 and grid)):
        return False
    figure = Figure(figsize=(6.0, 4.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    note = _line(axes, plan, keys[0], found) if len(keys) == 1 else _heat_map(axes, plan, (keys[0], keys[1]), found)
    axes.set_title(_title(found, note, failed), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return True


def _line(axes: Axes, plan: SweepPlan, key: str, found: Sequence[Group]) -> str:
    is_rate = plan.settings.sweep.metric == SUCCESS_RATE
    ordered = sorted(found, key=lambda group: _sortable(group.values[key]))
    values = [group.values[key] for group in ordered]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    places = values if numeric else list(range(len(values)))
    scale = 100.0 if is_rate else 1.0
    for place, group in zip(places, ordered, strict=True):
        counts = Counts.of(group.results)
        if is_rate and counts.n:
            low, high = (scale * bound for bound in counts.interval)
            axes.plot([place, place], [low, high], color=_COLOR, linewidth=1.5)
        each = [
            scale * r.metrics[plan.settings.sweep.metric]
            for r in group.results
            if plan.settings.sweep.metric in r.metrics
        ]
        if len(each) > 1:
            axes.plot([place] * len(each), each, "o", color=_COLOR, alpha=0.35, markersize=4, markeredgewidth=0)
    means = [scale * (group.mean or 0.0) for group in ordered]
    drawn = GRID not in plan.settings.sweep.search[key]
    axes.plot(places, means, "o" if drawn else "o-", color=_COLOR, markersize=6)
    if "loguniform" in plan.settings.sweep.search[key]:
        axes.set_xscale("log")
    elif not drawn:
        axes.set_xticks(places, [shown(value) for value in values])
    axes.set_xlabel(key)
    axes.set_ylabel("success rate, %" if is_rate else plan.settings.sweep.metric)
    if is_rate:
        axes.set_ylim(-2, 102)
    axes.grid(axis="y", alpha=0.3)
    return "mean over seeds (small dots: each), Wilson 95 % interval over episodes" if is_rate else ""


def _heat_map(axes: Axes, plan: SweepPlan, keys: tuple[str, str], found: Sequence[Group]) -> str:
    is_rate = plan.settings.sweep.metric == SUCCESS_RATE
    # All values of the plan: what has not been run yet stays empty.
    down, across = (sorted({_hashable(v[key]) for v in plan.values.values()}, key=_sortable) for key in keys)
    cells = np.full((len(down), len(across)), np.nan)
    notes: dict[tuple[int, int], str] = {}
    for group in found:
        row, column = (
            places.index(_hashable(group.values[key])) for key, places in zip(keys, (down, across), strict=True)
        )
        cells[row, column] = (100.0 if is_rate else 1.0) * (group.mean or 0.0)
        text = f"{cells[row, column]:.0f}" if is_rate else f"{cells[row, column]:.3g}"
        if is_rate:
            low, high = Counts.of(group.results).interval
            text += f"\n[{100 * low:.0f}, {100 * high:.0f}]"
        notes[row, column] = f"{text}\nn = {len(group.results)}"
    limits: dict[str, Any] = {"vmin": 0.0, "vmax": 100.0} if is_rate else {}
    image = axes.imshow(cells, cmap="viridis", aspect="auto", origin="lower", **limits)
    for (row, column), note in notes.items():
        red, green, blue, _ = image.cmap(image.norm(cells[row, column]))
        dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
        axes.text(column, row, note, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    for edge in range(1, len(across)):
        axes.axvline(edge - 0.5, color="white", linewidth=1.0)
    for edge in range(1, len(down)):
        axes.axhline(edge - 0.5, color="white", linewidth=1.0)
    axes.set_xticks(range(len(across)), [shown(value) for value in across])
    axes.set_yticks(range(len(down)), [shown(value) for value in down])
    axes.set_xlabel(keys[1])
    axes.set_ylabel(keys[0])
    axes.figure.colorbar(image, ax=axes, label="success rate, %" if is_rate else plan.settings.sweep.metric)
    return "mean over n seeds [Wilson 95 % interval over episodes]" if is_rate else ""


def _title(found: Sequence[Group], text: str, failed: int) -> str:
    updates = sorted({update for group in found for update in group.updates})
    length = f"{updates[-1]:,} updates" if len(updates) == 1 else f"{updates[0]:,} to {updates[-1]:,} updates"
    length += f"; {failed} failed, left out" if failed else ""
    return f"{length}\n{text}" if text else length


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _sortable(value: Any) -> tuple[bool, Any, str]:
    number = isinstance(value, int | float)
    return (not number, value if number else 0, shown(value))
