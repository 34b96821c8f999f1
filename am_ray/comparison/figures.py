"""The two figures: success rate against labelled episodes, and paired differences against the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from am_ray.comparison.analysis import Comparison
from am_ray.comparison.curves import THRESHOLD
from am_ray.comparison.differences import DifferenceRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every kind of colour blindness; marker and dashes tell arms apart in grey.
_STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
_INK, _PALE = "#222222", "#bbbbbb"


def curves_figure(comparison: Comparison) -> Figure:
    """Success rate against the number of labelled episodes, one line per arm, with 95 % bands; zero-shot at 0."""
    study = comparison.study
    figure, axes = _canvas((8.0, 4.8))
    sizes = sorted({row.episodes for row in comparison.rates})
    step = _dodge(sizes)
    for rank, arm in enumerate(study.arms):
        rows = [row for row in comparison.rates if row.arm == arm and row.rate is not None]
        if not rows:
            continue
        colour, marker, dashes = _style(rank)
        x = [row.episodes + step * (rank - (len(study.arms) - 1) / 2) for row in rows]
        rates = [100 * (row.rate or 0.0) for row in rows]
        low, high = ([100 * row.interval[side] for row in rows] for side in (0, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.errorbar(x, rates, yerr=_errors(rates, low, high), fmt="none", ecolor=colour, elinewidth=1.1, capsize=3)
        seeds = _span([row.seeds for row in rows])
        label = f"{arm} ({seeds} {'seed' if seeds == '1' else 'seeds'})"
        axes.plot(x, rates, color=colour, marker=marker, linestyle=dashes, linewidth=2, markersize=7, label=label)
    axes.axhline(100 * THRESHOLD, color=_PALE, linewidth=1, linestyle=":", zorder=0)
    axes.set_ylim(-2, 102)
    axes.set_ylabel("success rate, % of evaluation episodes")
    _label_sizes(axes, sizes, "labelled episodes for fine-tuning")
    axes.set_title(f"{study.task.replace('_', ' ')}: {_kinds(comparison)}", fontsize=10, loc="left")
    if axes.lines[:-1]:
        columns = 3 if len(study.arms) <= 3 else 2
        axes.legend(frameon=False, handlelength=3.2, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)
    else:
        _say(axes, "no evaluated cell yet")
    return figure


def differences_figure(comparison: Comparison) -> Figure:
    """Each arm minus the baseline at every size and over the whole curve: thick for the method, thin for these policies."""
    rows = [*comparison.differences, *comparison.areas]
    where = list(dict.fromkeys(row.where for row in sorted(rows, key=_place)))
    arms = list(comparison.study.arms)
    figure, axes = _canvas((8.0, 1.7 + 0.42 * max(2, len(where)) + 0.09 * len(rows)))
    for row in rows:
        rank = arms.index(row.arm)
        y = where.index(row.where) + 0.26 * (rank - len(arms) / 2)
        _draw_difference(axes, row, y, *_style(rank)[:2])
    axes.axvline(0, color=_INK, linewidth=1)
    axes.set_xlabel(f"success rate minus that of {comparison.study.baseline if arms else 'the baseline'}, points")
    axes.set_ylabel("labelled episodes")
    axes.set_yticks(range(len(where)), where)
    if rows:
        axes.set_ylim(len(where) - 0.4, -0.75)
        axes.set_title(
            "thick: 95 % for the method (other seeds, other starts); thin: for these policies (other starts)\n"
            "filled: difference established after Holm's correction; hollow: not established (or one seed)",
            fontsize=9,
            loc="left",
        )
        _label_arms(axes, arms[1:])
    else:
        _say(axes, "nothing to compare")
    return figure


def _draw_difference(axes: Axes, row: DifferenceRow, y: float, colour: str, marker: str) -> None:
    if row.method.mean is None:
        axes.plot([0], [y], marker="x", color=_PALE)
        return
    if row.seeds > 1:
        axes.plot([100 * b for b in row.method.interval], [y, y], color=colour, linewidth=4.5, alpha=0.45)
    axes.plot([100 * b for b in row.policies.interval], [y, y], color=colour, linewidth=1.3)
    face = colour if row.established else "white"
    axes.plot(
        [100 * row.method.mean], [y], marker=marker, color=colour, markerfacecolor=face, markersize=7, linestyle="none"
    )


def _label_arms(axes: Axes, arms: Sequence[str]) -> None:
    for rank, arm in enumerate(arms, start=1):
        colour, marker, _ = _style(rank)
        axes.plot([], [], color=colour, marker=marker, linestyle="-", label=arm)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _place(row: DifferenceRow) -> tuple[bool, int]:
    return row.episodes is None, row.episodes or 0


def _kinds(comparison: Comparison) -> str:
    kinds = {row.interval_kind for row in comparison.rates}
    words = {
        "seeds and starts": "95 % bands over seeds and starts",
        "Wilson, one seed": "Wilson 95 % intervals, one seed",
    }
    return "; ".join(words[kind] for kind in sorted(kinds, reverse=True))


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label_sizes(axes: Axes, sizes: Sequence[int], label: str) -> None:
    axes.set_xlabel(label)
    if not sizes:
        return
    margin = 0.06 * (sizes[-1] - sizes[0]) or 1.0
    axes.set_xlim(sizes[0] - margin, sizes[-1] + margin)
    axes.set_xticks(sizes, [f"{size}\nzero-shot" if size == 0 else str(size) for size in sizes])


def _dodge(sizes: Sequence[int]) -> float:
    """How far arms stand apart, so that error bars at one size do not cover one another."""
    return 0.012 * (sizes[-1] - sizes[0]) if len(sizes) > 1 else 0.12


def _style(rank: int) -> tuple[str, str, str]:
    return _STYLES[rank % len(_STYLES)]


def _errors(rates: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Any:
    below = [max(0.0, rate - bound) for rate, bound in zip(rates, low, strict=True)]
    above = [max(0.0, bound - rate) for rate, bound in zip(rates, high, strict=True)]
    return [below, above]


def _span(values: Sequence[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=12)
