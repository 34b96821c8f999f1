"""Success rates with intervals, task by task: a line of each method below the other, and curves over updates or labelled episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from study.outcomes import Cell
from study.texts import task_title

_OURS, _CLONING = "#1f4e79", "#c07a3a"
_ARMS = {"scratch": "#c07a3a", "auxiliary": "#e3c29f", "pretrained": "#1f4e79", "pretrained_auxiliary": "#6f9cc2"}


def ablation_figure(cells: Mapping[str, Cell], path: Path) -> None:
    """Writes a PNG: for each task and cell the mean, its 95 % interval, and a stroke for each training seed; a dotted line at the first cell's mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    first = next(iter(cells.values()))
    tasks = list(first.outcomes)
    size = (3.4 + 2.3 * len(tasks), 0.9 + 0.27 * len(cells))
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        for place, (label, found) in enumerate(cells.items()):
            color = method_color(label)
            low, high = (100 * bound for bound in found.interval(task))
            axes.plot([low, high], [place, place], color=color, linewidth=1.6)
            axes.plot(100 * found.rate(task), place, "o", color=color, markersize=6)
            seeds = 100 * np.nanmean(found.outcomes[task], axis=1)
            axes.plot(seeds, [place] * len(seeds), "|", color=color, markersize=9, markeredgewidth=1.2)
        axes.axvline(100 * first.rate(task), color=_OURS, linewidth=0.8, linestyle=":")
        axes.set_title(task_title(task), fontsize=9)
        axes.set_xlim(-2, 102)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    panels[0].set_yticks(range(len(cells)), list(cells), fontsize=8)
    panels[0].set_ylim(len(cells) - 0.4, -0.6)
    figure.supxlabel("success at the last step, %", fontsize=9)
    figure.savefig(path)


def curves_figure(curves: Mapping[str, Mapping[int, Cell]], path: Path) -> None:
    """Writes a PNG: for each task a line of each method over updates, its 95 % intervals, a dot for each training seed; one of ours, one of cloning."""
    tasks = list(next(iter(next(iter(curves.values())).values())).outcomes)
    figure, panels = _panels(len(tasks))
    for axes, task in zip(panels, tasks, strict=True):
        for method, points in curves.items():
            shown = {
                updates: (found.rate(task), found.interval(task), np.nanmean(found.outcomes[task], axis=1))
                for updates, found in sorted(points.items())
            }
            _line(axes, shown, method, method_color(method))
        axes.set_title(task_title(task), fontsize=9)
        axes.set_xlabel("updates")
    _finish(figure, panels, path)


def downstream_figure(comparisons: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Writes a PNG: for each downstream task a line of each arm over labelled episodes, its 95 % intervals, a dot for each seed.

    Args:
        comparisons: ``comparison.json`` by task.
        path: Of the PNG.
    """
    figure, panels = _panels(len(comparisons))
    for axes, (task, comparison) in zip(panels, comparisons.items(), strict=True):
        rows = [row for row in comparison["success"] if row["rate"] is not None]
        for arm in dict.fromkeys(row["arm"] for row in rows):
            shown = {
                row["episodes"]: (row["rate"], row["interval"], np.array(list(row["seed_rates"].values())))
                for row in sorted(rows, key=lambda row: int(row["episodes"]))
                if row["arm"] == arm
            }
            _line(axes, shown, arm.replace("_", " + "), _ARMS[arm])
        axes.set_title(f"grasp {task}", fontsize=9)
        axes.set_xlabel("labelled episodes")
        axes.set_xscale("log")
        sizes = sorted({row["episodes"] for row in rows})
        axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        axes.minorticks_off()
    _finish(figure, panels, path)


def _panels(number: int) -> tuple[Any, Sequence[Any]]:
    """A figure, and its panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 2.9 * number, 3.3), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, number, sharey=True, squeeze=False)
    return figure, list(panels[0])


def _line(axes: Any, points: Mapping[int, tuple[float, Sequence[float], np.ndarray]], label: str, color: str) -> None:
    """By place: a rate, its interval, and those of the seeds, as shares."""
    places = list(points)
    axes.plot(places, [100 * rate for rate, _, _ in points.values()], color=color, label=label)
    bounds = zip(*(interval for _, interval, _ in points.values()), strict=True)
    axes.fill_between(places, *([100 * bound for bound in side] for side in bounds), color=color, alpha=0.15)
    for place, (_, _, seeds) in points.items():
        axes.plot([place] * len(seeds), 100 * seeds, "o", color=color, alpha=0.6, markersize=3, markeredgewidth=0)


def _finish(figure: Any, panels: Sequence[Any], path: Path) -> None:
    for axes in panels:
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("success at the last step, %")
    panels[0].set_ylim(0, 102)
    figure.legend(
        *panels[0].get_legend_handles_labels(), fontsize=7, loc="outside lower center", ncols=4, frameon=False
    )
    figure.savefig(path)


def method_color(label: str) -> str:
    """Brown for behaviour cloning, blue for ours."""
    return _CLONING if "behaviour cloning" in label else _OURS
