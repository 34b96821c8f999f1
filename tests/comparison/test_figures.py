from pathlib import Path
from typing import Any

import pytest

from am_ray.comparison import Comparison, compare, read_study
from am_ray.comparison.figures import curves_figure, differences_figure
from tests.comparison.studies import EXAMPLE_LEVELS, cell, example_cells, write


def compared(folder: Path, cells: list[dict[str, Any]]) -> Comparison:
    return compare(read_study(write(folder, cells)))


def lines(figure: Any) -> list[Any]:
    return list(figure.axes[0].get_lines())


def test_every_arm_is_a_line_through_its_rates(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=3))
    named = {line.get_label(): line for line in lines(curves_figure(comparison))}
    for arm in comparison.study.arms:
        expected = [100 * row.rate for row in comparison.rates if row.arm == arm and row.rate is not None]
        assert list(named[f"{arm} (3 seeds)"].get_ydata()) == expected


def test_arms_are_told_apart_without_colour(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=2))
    arms = [line for line in lines(curves_figure(comparison)) if "seeds" in str(line.get_label())]
    assert len({line.get_marker() for line in arms}) == len({line.get_linestyle() for line in arms}) == 3


def test_an_arm_without_an_episode_that_counts_has_no_line(tmp_path: Path) -> None:
    cells = [*example_cells({"scratch": {25: 0.0, 50: 1.0}}), cell("pretrained", 25, 0, [None] * 50)]
    figure = curves_figure(compared(tmp_path / "s", cells))
    labels = [str(line.get_label()) for line in lines(figure)]
    assert "scratch (3 seeds)" in labels
    assert not any("pretrained" in label for label in labels)


def test_zero_labelled_episodes_are_called_zero_shot(tmp_path: Path) -> None:
    figure = curves_figure(compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=2)))
    assert next(text.get_text() for text in figure.axes[0].get_xticklabels()) == "0\nzero-shot"


def test_the_title_says_what_the_bands_are(tmp_path: Path) -> None:
    several, one = (compared(tmp_path / f"{n}", example_cells({"scratch": {25: 0.0}}, seeds=n)) for n in (3, 1))
    assert "seeds and starts" in curves_figure(several).axes[0].get_title(loc="left")
    assert "Wilson" in curves_figure(one).axes[0].get_title(loc="left")


@pytest.mark.parametrize(("levels", "filled"), [((-3.0, 3.0), True), ((0.0, 0.0), False)])
def test_a_marker_is_filled_where_the_difference_is_established(
    tmp_path: Path, levels: tuple[float, float], filled: bool
) -> None:
    cells = example_cells({"scratch": {25: levels[0]}, "pretrained": {25: levels[1]}}, seeds=5)
    comparison = compared(tmp_path / "s", cells)
    (row,) = comparison.differences
    assert row.established is filled
    (marker,) = [line for line in lines(differences_figure(comparison)) if line.get_linestyle() == "None"]
    assert list(marker.get_xdata()) == [100 * (row.method.mean or 0)]
    assert (marker.get_markerfacecolor() == "white") is not filled


def test_bars_are_the_two_intervals_and_one_seed_has_none_for_the_method(tmp_path: Path) -> None:
    for seeds, bars in ((4, 2), (1, 1)):
        cells = example_cells({"scratch": {25: -1.0}, "pretrained": {25: 1.0}}, seeds=seeds)
        comparison = compared(tmp_path / f"{seeds}", cells)
        (row,) = comparison.differences
        intervals = [row.method.interval, row.policies.interval][2 - bars :]
        drawn = [
            tuple(line.get_xdata()) for line in lines(differences_figure(comparison)) if len(line.get_xdata()) == 2
        ]
        assert [tuple(100 * bound for bound in interval) for interval in intervals] == [x for x in drawn if x != (0, 0)]


def test_a_marker_is_hollow_where_holm_takes_the_difference_back(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=5))
    rows = [*comparison.differences, *comparison.areas]
    assert any(row.established_before_holm and not row.established for row in rows)
    markers = [line for line in lines(differences_figure(comparison)) if line.get_linestyle() == "None"]
    assert [marker.get_markerfacecolor() != "white" for marker in markers] == [row.established for row in rows]


def test_four_arms_with_zero_shot_are_told_apart_in_both_figures(tmp_path: Path) -> None:
    arms = ("scratch", "pretrained", "auxiliary", "pretrained_auxiliary")
    levels = {arm: {0: -2.0, 25: -1.0 + rank, 50: float(rank)} for rank, arm in enumerate(arms)}
    comparison = compared(tmp_path / "s", example_cells(levels, seeds=2))
    curves, differences = curves_figure(comparison), differences_figure(comparison)
    shown = [line for line in lines(curves) if "seeds" in str(line.get_label())]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in shown}
    assert len(looks) == len({look[0] for look in looks}) == len({look[1] for look in looks}) == 4
    labels = [text.get_text() for text in differences.axes[0].get_yticklabels()]
    assert labels == ["0 (zero-shot)", "25", "50", "whole curve"]
    heights = [line.get_ydata()[0] for line in lines(differences) if line.get_linestyle() == "None"]
    assert len(set(heights)) == len(heights) == 12
    for figure in (curves, differences):
        figure.savefig(tmp_path / "figure.png")
        legend = figure.axes[0].get_legend().get_window_extent()
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1
