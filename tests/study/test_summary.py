"""Comparisons of several tables side by side: each is its table's own, and marked by what it establishes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from study.summary import SUMMARIES, Contrast, summary_lines
from study.tables import TABLES
from study.texts import difference_text

TASKS = ("instance_grasping", "rearrangement", "container_placing")


def published(folder: Path, rows: dict[str, dict[str, list[str]]]) -> None:
    content = {
        "table": "t",
        "sweeps": {"s": {"evaluation_seed": 100}},
        "rows": {
            label: {
                "seeds": list(range(len(tasks[TASKS[0]]))),
                "updates": 1,
                "minutes": 1.0,
                "tasks": {task: {"n": len(lines[0]), "episodes": lines} for task, lines in tasks.items()},
            }
            for label, tasks in rows.items()
        },
    }
    (folder / "t.json").write_text(json.dumps(content))


def test_a_difference_is_bold_where_its_interval_leaves_0_out_and_starred_where_holm_does_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    half = ["".join(rng.choice(["0", "1"], 100)) for _ in range(3)]
    far_below, at_0 = ["0" * 100] * 3, half
    # On three to five starts of a hundred better, by seed: p is between 0.05 / 2 and 0.05.
    below = [line.replace("1", "0", count) for line, count in zip(half, (3, 4, 5), strict=True)]
    published(
        tmp_path,
        {
            "ours": dict.fromkeys(TASKS, half),
            "other": dict(zip(TASKS, (far_below, at_0, below), strict=True)),
        },
    )
    table = summary_lines(
        (Contrast("one world", "t", "ours", "other"), Contrast("gone", "t", "ours", "none")), tmp_path
    )
    assert table[:2] == ["| | instance grasping | rearrangement | container placing | seeds |", "|---|---|---|---|---|"]
    (line,) = table[2:]
    label, *shown, seeds = [entry.strip() for entry in line.strip("|").split("|")]
    assert (label, seeds) == ("one world", "3")
    assert re.fullmatch(r"\*\*\+\d+ \[\+\d+, \+\d+\]\*\*\\\*", shown[0])
    assert re.fullmatch(r"0 \[-\d+, \+\d+\]", shown[1])
    assert re.fullmatch(r"\*\*\+\d+ \[\+[\d.]+, \+\d+\]\*\*", shown[2])


def test_without_a_published_row_there_is_no_table(tmp_path: Path) -> None:
    assert all(summary_lines(contrasts, tmp_path) == [] for contrasts in SUMMARIES.values())


def test_contrasts_are_of_rows_that_the_tables_have() -> None:
    labels = {table.name: {row.label for row in table.rows} for table in TABLES if not table.has_curves}
    for contrast in (contrast for contrasts in SUMMARIES.values() for contrast in contrasts):
        assert {contrast.one, contrast.other} <= labels[contrast.table]


@pytest.mark.parametrize(
    ("mean", "interval", "text"),
    [
        (0.11, (0.04, 0.17), "+11 [+4, +17]"),
        (-0.004, (-0.03, 0.03), "0 [-3, +3]"),
        (0.07, (0.0003, 0.14), "+7 [+0.03, +14]"),
        (0.02, (-0.0049, 0.04), "+2 [-0.5, +4]"),
        (0.0, (-0.00001, 0.0), "0 [0, 0]"),
    ],
)
def test_an_end_next_to_0_keeps_its_side(mean: float, interval: tuple[float, float], text: str) -> None:
    assert difference_text(mean, interval) == text
