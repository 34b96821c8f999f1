"""The text of docs/RESULTS.md says of intervals what its tables say: a study that is run again changes these, and not the text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "RESULTS.md"
_NUMBER = r"([-+]?\d+(?:\.\d+)?)"
_ESTIMATE = re.compile(rf"{_NUMBER} \[{_NUMBER}, {_NUMBER}\]")
# Of rows of different tables, of other goals, or of arms that no table compares: section -> what its text gives of them.
ELSEWHERE = {
    "Zero-shot goals from states": ["+13 [+5, +21]", "+13 [-17, +43]", "78 [72, 83]"],
    "Few labelled episodes of a task": ["+40 [-1, +82]", "+1 [-6, +8]", "-3 [-13, +8]"],
    "A world that we did not write: PointMaze": ["74 [68, 80]", "66 [59, 72]"],
}


def estimates(lines: list[str]) -> set[tuple[int, ...]]:
    """Mean and ends of all estimates with an interval, rounded as tables are."""
    return {tuple(round(float(number)) for number in found) for line in lines for found in _ESTIMATE.findall(line)}


def untold(page: str) -> dict[str, list[str]]:
    """By section, the estimates of its text that no table of the page has, nor one the other way round."""
    lines = page.splitlines()
    told = estimates([line for line in lines if line.startswith("|")])
    told |= {(-mean, -high, -low) for mean, low, high in told}
    found: dict[str, list[str]] = {}
    section = ""
    for line in lines:
        if line.startswith("## "):
            section = line.removeprefix("## ").split(": tray_")[0]
        if not line.startswith("|"):
            for match in _ESTIMATE.finditer(line):
                if not estimates([match[0]]) <= told:
                    found.setdefault(section, []).append(match[0])
    return {name: list(dict.fromkeys(texts)) for name, texts in found.items()}


def test_the_text_gives_no_interval_that_the_tables_do_not() -> None:
    assert untold(PAGE.read_text(encoding="utf-8")) == ELSEWHERE


@pytest.mark.parametrize(
    ("text", "stale"),
    [
        ("- Better: +5 [+2.4, +8].", []),
        ("- Worse: -5 [-8, -2].", []),
        ("- Better: +6 [+2, +8].", ["+6 [+2, +8]"]),
        ("- So many: 97 [90, 98] of 100.", ["97 [90, 98]"]),
    ],
)
def test_a_text_that_its_table_left_behind_is_found(text: str, stale: list[str]) -> None:
    page = f"## A\n\n| ours | 97 [90, 99] |\n| *ours - cloning* | +5 [+2, +8] |\n\n{text}\n"
    assert untold(page) == ({"A": stale} if stale else {})
