"""The text of docs/RESULTS.md, and README.md, say of intervals what the tables say: a study that is run again changes these, and not the text.

An interval may be that of any row and task of its section: whether it is the right one is for the reader to see.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from study.report import RESULTS, write_report

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "RESULTS.md"
README = ROOT / "README.md"
_NUMBER = r"([-+]?\d+(?:\.\d+)?)"
_ESTIMATE = re.compile(rf"{_NUMBER} \[{_NUMBER}, {_NUMBER}\]")
SUMMARY = "In short"
# Of rows of different tables, of other goals, or of arms that no table compares: section -> what its text gives of them.
ELSEWHERE = {
    "Zero-shot goals from states": [
        *("+6 [-10, +22]", "+4 [-6, +14]", "+6 [+1, +10]", "+4 [-0, +7]", "+5 [-10, +19]", "+1 [-7, +9]"),
        *("+13 [+5, +21]", "+13 [-17, +43]", "+4 [-10, +17]", "+0 [-5, +6]"),
        *("74 [68, 80]", "89 [84, 93]"),
    ],
    "Few labelled episodes of a task": ["+1 [-6, +8]", "+0 [-8, +8]", "-3 [-13, +8]"],
    "A world that we did not write: PointMaze": ["74 [68, 80]", "62 [55, 68]", "66 [59, 72]", "64 [57, 70]"],
}


def estimates(lines: list[str]) -> set[tuple[int, ...]]:
    """Mean and ends of all estimates with an interval, rounded as tables are."""
    return {tuple(round(float(number)) for number in found) for line in lines for found in _ESTIMATE.findall(line)}


def sections(page: str) -> dict[str, list[str]]:
    """The lines below each title of the second level."""
    found: dict[str, list[str]] = {}
    for part in page.split("\n## ")[1:]:
        title, *lines = part.splitlines()
        found[title.split(": tray_")[0]] = lines
    return found


def told(lines: list[str]) -> set[tuple[int, ...]]:
    """What tables among these lines say, and of differences the other way round."""
    found = estimates([line for line in lines if line.startswith("|")])
    return found | {(-mean, -high, -low) for mean, low, high in found}


def untold(page: str) -> dict[str, list[str]]:
    """By section, the estimates of its text that none of its tables has; those of the summary may be of any."""
    everything = told(page.splitlines())
    found = {}
    for title, lines in sections(page).items():
        known = told(lines) if title != SUMMARY else everything
        texts = [match[0] for line in lines if not line.startswith("|") for match in _ESTIMATE.finditer(line)]
        found[title] = [text for text in dict.fromkeys(texts) if not estimates([text]) <= known]
    return {title: texts for title, texts in found.items() if texts}


def test_the_tables_are_those_of_the_published_results(tmp_path: Path) -> None:
    copies = [Path(shutil.copy(page, tmp_path)) for page in (PAGE, README)]
    assert write_report(tmp_path / "nothing was run", results=ROOT / RESULTS, pages=copies) == copies
    for page, copy in zip((PAGE, README), copies, strict=True):
        assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")


def test_the_text_gives_no_interval_that_the_tables_do_not() -> None:
    assert untold(PAGE.read_text(encoding="utf-8")) == ELSEWHERE


def test_the_readme_gives_no_interval_that_neither_its_tables_nor_the_results_do() -> None:
    readme = README.read_text(encoding="utf-8").splitlines()
    known = told(readme) | told(PAGE.read_text(encoding="utf-8").splitlines())
    texts = [match[0] for line in readme if not line.startswith("|") for match in _ESTIMATE.finditer(line)]
    assert [text for text in texts if not estimates([text]) <= known] == []


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
    page = f"# Title\n## A\n\n| ours | 97 [90, 99] |\n| *ours - cloning* | +5 [+2, +8] |\n\n{text}\n"
    assert untold(page) == ({"A": stale} if stale else {})
