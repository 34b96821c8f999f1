"""Success rates with intervals, task by task: bars of methods beside one another, and curves over updates or labelled episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from study.outcomes import Cell
from study.texts import task_title

_OURS = (
    "#1f4e79",
    "#3f72a0",
    "#6f9cc2",
    "#a9c4dd",
    "#d5d9de",
    "#9aa3ad",
    "#6b747e",
    "#3b4148",
    "#1b1f24",
    "#b7bec6",
    "#547d76",
    "#8fb0a9",
)
_CLONING = ("#c07a3a", "#e3c29f", "#7d4a1c", "#f0e0d0")
_ARMS = {"scratch": "#c07a3a", "auxiliary": "#e3c29f", "pretrained": "#1f4e79", "pretrained_auxiliary": "#6f9cc2"}
_WIDTH = 0.8


def ablation_figure(cells: Mapping[str, Cell], path: Path) -> None:
    """Writes a PNG: a bar for each cell and task, its 95 % interval, a dot for each training seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    tasks = list(next(iter(cells.values())).outcomes)
    figure = Figure(figsize=(2.2 + 2.4 * len(tasks), 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    for rank, ((label, found), color) in enumerate(zip(cells.items(), bar_colors(list(cells)), strict=True)):
        places = [number + _WIDTH * ((rank + 0.5) / len(cells) - 0.5) for number in range(len(tasks))]
        rates = [100 * found.rate(task) for task in tasks]
        axes.bar(places, rates, _WIDTH / len(cells) * 0.94, color=color, label=label)
        for place, task in zip(places, tasks, strict=True):
            low, high = (100 * bound for bound in found.interval(task))
            axes.plot([place, place], [low, high], color="#333333", linewidth=1.2)
            seeds = 100 * found.outcomes[task].mean(axis=1)
            axes.plot([place] * len(seeds), seeds, "o", color="#333333", alpha=0.5, markersize=3, markeredgewidth=0)
    axes.set_xticks(range(len(tasks)), [task_title(task) for task in tasks])
    axes.set_ylabel("success at the last step, %")
    axes.set_ylim(0, 102)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path)


def curves_figure(curves: Mapping[str, Mapping[int, Cell]], path: Path) -> None:
    """Writes a PNG: for each task a line of each method over updates, its 95 % intervals, a dot for each training seed."""
    tasks = list(next(iter(next(iter(curves.values())).values())).outcomes)
    figure, panels = _panels(len(tasks))
    for axes, task in zip(panels, tasks, strict=True):
        for (method, points), color in zip(curves.items(), bar_colors(list(curves)), strict=True):
            shown = {
                updates: (found.rate(task), found.interval(task), np.nanmean(found.outcomes[task], axis=1))
                for updates, found in sorted(points.items())
            }
            _line(axes, shown, method, color)
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


def bar_colors(labels: Sequence[str]) -> list[str]:
    """Blues, then greys, for ours and browns for behaviour cloning, in the order of the lists; what is left over shares the last."""
    is_cloning = ["behaviour cloning" in label for label in labels]
    families = [_CLONING if cloning else _OURS for cloning in is_cloning]
    ranks = [is_cloning[:index].count(cloning) for index, cloning in enumerate(is_cloning)]
    return [family[min(rank, len(family) - 1)] for family, rank in zip(families, ranks, strict=True)]
