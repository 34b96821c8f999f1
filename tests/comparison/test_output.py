import csv
import io
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from am_ray.comparison import Comparison, compare, read_study
from am_ray.comparison.html_report import html_report
from am_ray.comparison.output import comparison_metrics, track_comparison, write_comparison
from am_ray.comparison.pictures import choose_pictures
from am_ray.comparison.tables import rich_table, text_tables
from tests.comparison.studies import EXAMPLE_LEVELS, cell, example_cells, write

FILES = {
    *("comparison.png", "difference.png", "success.csv", "curves.csv", "differences.csv", "budget.csv"),
    *("comparison.json", "report.md", "comparison.html"),
}


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return compare(read_study(write(tmp_path / "study", example_cells(EXAMPLE_LEVELS, seeds=3, starts=12))))


class Page(HTMLParser):
    """What a page asks the browser for, and which pictures have a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.without_text = 0
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.without_text += tag == "img" and not found.get("alt")
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_everything_is_written_and_the_html_needs_nothing_else(comparison: Comparison) -> None:
    written = write_comparison(comparison)
    assert {path.name for path in written.files} == FILES == {path.name for path in written.folder.iterdir()}
    page = Page(written.html.read_text())
    assert len(page.sources) == 2 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert page.without_text == 0 and page.open == []
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.search(r"url\(|@import|https?://", written.html.read_text())
    assert "default-src 'none'" in written.html.read_text()


def test_all_reports_have_the_same_conclusions(comparison: Comparison) -> None:
    written = write_comparison(comparison)
    markdown, numbers = (written.folder / "report.md").read_text(), json.loads(written.json.read_text())
    assert numbers["conclusions"] == list(comparison.conclusions)
    for sentence in comparison.conclusions:
        assert sentence in markdown
        assert sentence.replace("'", "&#x27;") in written.html.read_text()


def test_a_second_time_gives_the_same_bytes(comparison: Comparison) -> None:
    first = {path.name: path.read_bytes() for path in write_comparison(comparison).files}
    assert {path.name: path.read_bytes() for path in write_comparison(comparison).files} == first


def test_csv_holds_the_numbers_unrounded(comparison: Comparison) -> None:
    written = write_comparison(comparison)
    with (written.folder / "success.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], int(row["episodes"])) for row in rows] == [(r.arm, r.episodes) for r in comparison.rates]
    assert [float(row["interval_low"]) for row in rows] == [r.interval[0] for r in comparison.rates]
    with (written.folder / "differences.csv").open() as stream:
        differences = list(csv.DictReader(stream))
    assert len(differences) == len(comparison.differences) + len(comparison.areas)
    assert float(differences[0]["method_mean"]) == comparison.differences[0].method.mean
    assert differences[-1]["episodes"] == ""


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [cell("scratch", 25, 0, [True, False])],
        [cell("scratch", 25, 0, [None]), cell("pretrained", 25, 0, [None])],
        [cell("scratch", 0, 0, [True]), cell("pretrained", 0, 0, [False])],
    ],
    ids=["nothing", "one arm", "all lost", "zero-shot only"],
)
def test_the_smallest_studies_are_drawn_and_written(tmp_path: Path, cells: list[dict[str, object]]) -> None:
    written = write_comparison(compare(read_study(write(tmp_path / "s", cells))))
    assert "NaN" not in written.json.read_text()
    for name in ("comparison.png", "difference.png"):
        with Image.open(written.folder / name) as image:
            assert image.getextrema()[0][0] < 100  # something dark is on the white


def test_names_cannot_put_markup_into_the_page(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    cells = [
        cell("scratch", 25, 0, [True]),
        cell(bad, 25, 0, [True]),
        cell("scratch", 50, 0, [], status=bad, error=bad),
    ]
    comparison = compare(read_study(write(tmp_path / "s", cells, task=bad)))
    for entry in comparison.study.cells:
        assert entry.record is not None
    written = write_comparison(comparison)
    assert "script" not in Page(written.html.read_text()).tags


def picture(path: Path, colour: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1650, 390), colour).save(path)
    return str(path)


@pytest.fixture
def with_panels(tmp_path: Path) -> Callable[[list[str]], Comparison]:
    def build(panels: list[str]) -> Comparison:
        cells = [cell("scratch", 25, 0, [True], panels=panels), cell("pretrained", 25, 0, [True])]
        return compare(read_study(write(tmp_path / "study", cells)))

    return build


def test_two_successes_and_two_failures_of_an_arm_are_shown(
    tmp_path: Path, with_panels: Callable[[list[str]], Comparison]
) -> None:
    names = [f"panels/grasp_box_{i:04d}_{'success' if i < 3 else 'failure'}.png" for i in range(6)]
    for name in names:
        picture(tmp_path / "study" / name, "red")
    comparison = with_panels(names)
    chosen = choose_pictures(comparison.study)
    assert [Path(names[i]).name for i in (0, 1, 3, 4)] == [shown.path.name for shown in chosen]
    assert [shown.outcome for shown in chosen] == ["success"] * 2 + ["failure"] * 2
    write_comparison(comparison)
    html = html_report(comparison, comparison.study.folder / "comparison", chosen)
    page = Page(html)
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 4
    assert "scratch: failure (cell scratch-n25-s0, grasp_box_0003_failure)" in html


def test_panels_that_are_missing_torn_or_elsewhere_are_left_out(
    tmp_path: Path, with_panels: Callable[[list[str]], Comparison], caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "secret_0001_success.png", "blue")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "torn_success.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    named = [
        "../secret_0001_success.png",
        str(tmp_path / "secret_0001_success.png"),
        "gone_success.png",
        "torn_success.png",
    ]
    assert choose_pictures(with_panels(named).study) == []
    assert caplog.text.count("lies outside the study") >= 2
    assert "torn_success.png: cannot be shown" in caplog.text


def test_a_torn_panel_does_not_take_the_place_of_a_good_one(
    tmp_path: Path, with_panels: Callable[[list[str]], Comparison]
) -> None:
    names = ["a_success.png", "b_success.png", "c_success.png"]
    for name in names[1:]:
        picture(tmp_path / "study" / name, "green")
    assert [shown.path.name for shown in choose_pictures(with_panels(names).study)] == names[1:]


def test_metrics_are_named_by_task_arm_and_size(comparison: Comparison) -> None:
    metrics = dict(comparison_metrics(comparison))
    row = next(row for row in comparison.rates if (row.arm, row.episodes) == ("pretrained", 50))
    assert metrics["comparison/grasp_box/pretrained/n50/success_rate"] == row.rate
    difference = next(row for row in comparison.differences if (row.arm, row.episodes) == ("auxiliary", 25))
    assert metrics["comparison/grasp_box/auxiliary/n25/difference"] == difference.method.mean
    assert metrics["comparison/grasp_box/auxiliary/n25/difference_low"] == difference.method.interval[0]
    assert metrics["comparison/grasp_box/auxiliary/area_difference"] == comparison.areas[1].method.mean
    assert not any("scratch" in name and "difference" in name for name in metrics)
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_report_goes_into_the_studys_own_spool(comparison: Comparison) -> None:
    written = write_comparison(comparison)
    track_comparison(comparison, written)
    records = [
        json.loads(line) for line in (comparison.study.folder / "tracking" / "spool.jsonl").read_text().splitlines()
    ]
    assert {Path(r["path"]).name for r in records if r["type"] == "artifact" and r["folder"] == "comparison"} == FILES
    (metrics,) = [r["values"] for r in records if r["type"] == "metrics"]
    assert metrics == dict(comparison_metrics(comparison))
    assert records[-1]["type"] == "end" and records[-1]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("status", "planned", "ended"),
    [
        ("completed", ["scratch-n25-s0"], "FINISHED"),
        ("completed", ["scratch-n25-s0", "scratch-n25-s1"], "KILLED"),
        ("stopped", ["scratch-n25-s0"], "KILLED"),
        ("failed", ["scratch-n25-s0"], "FAILED"),
        ("failed", ["scratch-n25-s0", "scratch-n25-s1"], "KILLED"),
    ],
)
def test_the_studys_run_ends_as_the_study_did(tmp_path: Path, status: str, planned: list[str], ended: str) -> None:
    cells = [cell("scratch", 25, 0, [True], status=status)]
    comparison = compare(read_study(write(tmp_path / "s", cells, cells_planned=planned)))
    track_comparison(comparison, write_comparison(comparison))
    last = (tmp_path / "s" / "tracking" / "spool.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["status"] == ended


def test_tables_show_what_is_unknown_as_a_dash_and_one_seed_as_wilson(tmp_path: Path) -> None:
    cells = [
        cell("scratch", 25, 0, [None]),
        cell(
            "pretrained",
            25,
            0,
            [
                True,
            ][:1],
        ),
    ]
    rates, curves, differences, budgets = text_tables(compare(read_study(write(tmp_path / "s", cells))))
    assert rates.rows[0][5:8] == ("–", "[0, 100]", "–")
    assert rates.rows[1][6].endswith(" W")
    assert curves.rows[0][1] == "–"
    assert differences.rows[0][4:6] == ("–", "difference not established")
    assert len(budgets.rows) == 2


def test_established_means_after_holm_everywhere(tmp_path: Path) -> None:
    comparison = compare(read_study(write(tmp_path / "study", example_cells(EXAMPLE_LEVELS, seeds=5))))
    rows = comparison.differences
    assert {(row.established_before_holm, row.established) for row in rows} == {(1, 1), (1, 0), (0, 0)}
    written = write_comparison(comparison)
    metrics = dict(comparison_metrics(comparison))
    listed = json.loads(written.json.read_text())["differences"]
    with (written.folder / "differences.csv").open() as stream:
        lines = list(csv.DictReader(stream))[: len(rows)]
    for row, entry, line in zip(rows, listed, lines, strict=True):
        assert row.established is ("not established" not in row.verdict)
        assert (entry["established"], entry["established_before_holm"]) == (
            row.established,
            row.established_before_holm,
        )
        assert line["established"] == str(row.established)
        assert metrics[f"comparison/grasp_box/{row.arm}/n{row.episodes}/difference_established"] == row.established


@pytest.mark.parametrize(
    ("width", "arms", "sizes"),
    [
        (80, ("scratch", "pretrained"), (25, 200)),
        (100, ("scratch", "pretrained", "pretrained_auxiliary"), (0, 25, 200)),
    ],
)
@pytest.mark.parametrize("seeds", [1, 5])
def test_a_terminal_holds_every_table(
    tmp_path: Path, width: int, arms: tuple[str, ...], sizes: tuple[int, ...], seeds: int
) -> None:
    """No value is cut or broken, but a verdict's words."""
    levels = {arm: {size: rank - 1.5 + size / 100 for size in sizes} for rank, arm in enumerate(arms)}
    study = write(tmp_path / "study", example_cells(levels, seeds=seeds))
    for table in text_tables(compare(read_study(study))):
        stream = io.StringIO()
        Console(file=stream, width=width).print(rich_table(table))
        shown = stream.getvalue()
        assert "…" not in shown and max(map(len, shown.splitlines())) <= width
        for row in table.rows:
            values = dict(zip(table.columns, row, strict=True))
            assert all(values[name] in shown for name in table.narrow if name != "verdict")
