"""Bars of success rates with intervals: methods beside one another, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.outcomes import Cell

_COLORS = ("#1f4e79", "#5b8db8", "#a9c4dd", "#d5d9de", "#c07a3a")
_WIDTH = 0.8


def ablation_figure(cells: Mapping[str, Cell], path: Path) -> None:
    """Writes a PNG: a bar for each cell and task, its 95 % interval, a dot for each training seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    tasks = list(next(iter(cells.values())).outcomes)
    figure = Figure(figsize=(2.2 + 2.4 * len(tasks), 3.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    for rank, (label, found) in enumerate(cells.items()):
        places = [number + _WIDTH * ((rank + 0.5) / len(cells) - 0.5) for number in range(len(tasks))]
        rates = [100 * found.rate(task) for task in tasks]
        color = _COLORS[-1] if "cloning" in label else _COLORS[min(rank, len(_COLORS) - 2)]
        axes.bar(places, rates, _WIDTH / len(cells) * 0.94, color=color, label=label)
        for place, task in zip(places, tasks, strict=True):
            low, high = (100 * bound for bound in found.interval(task))
            axes.plot([place, place], [low, high], color="#333333", linewidth=1.2)
            seeds = 100 * found.outcomes[task].mean(axis=1)
            axes.plot([place] * len(seeds), seeds, "o", color="#333333", alpha=0.5, markersize=3, markeredgewidth=0)
    axes.set_xticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])
    axes.set_ylabel("success at the last step, %")
    axes.set_ylim(0, 102)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path)
