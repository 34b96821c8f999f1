"""The report: tables say what the episodes say, and what was not run here stays as published."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.evaluation.tasks import episode_seeds
from study.conditions import STATE
from study.figures import method_color
from study.images import IMAGE_ROWS
from study.outcomes import cell, difference, read_sweep
from study.plan import BASELINES, EVALUATION_SEED
from study.report import markdown, write_report
from study.reproduction import reproduction_lines
from study.sweeps import SweepRow
from study.tables import CHAINING, TABLES
from tests.study.runs import TASK, write_evaluation, write_sweep

SWEEP_ROWS = [row for table in TABLES for row in table.rows if isinstance(row, SweepRow)]


def test_a_cell_is_the_matrix_of_its_seeds_and_starts(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, 1): "10-1", (0.1, 0): "1110", (0.0, 0): "0000"})
    found = cell(read_sweep(tmp_path / "s"), {"algorithm.relabel.chaining_ratio": 0.1})
    assert found is not None
    assert found.seeds == (0, 1)
    np.testing.assert_array_equal(found.outcomes[TASK], [[1, 1, 1, 0], [1, 0, np.nan, 1]])
    assert found.rate(TASK) == pytest.approx((3 / 4 + 2 / 3) / 2)
    low, high = found.interval(TASK)
    assert low < found.rate(TASK) < high
    assert cell(read_sweep(tmp_path / "s"), {"algorithm.relabel.chaining_ratio": 0.5}) is None
    assert read_sweep(tmp_path / "nothing") == []


def test_a_difference_is_paired_by_seed_and_start(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, s): "1" * 30 + "0" * 10 for s in (0, 1, 2)})
    write_sweep(tmp_path / "t", {(0.0, s): "1" * 10 + "0" * 30 for s in (0, 1, 2)})
    one, other = (cell(read_sweep(tmp_path / name), {}) for name in "st")
    assert one is not None and other is not None
    found = difference(one, other, TASK)
    assert found.mean == pytest.approx(0.5)
    assert found.interval[0] > 0.0
    backwards = difference(other, one, TASK)
    assert backwards.mean == pytest.approx(-0.5)


def test_the_report_fills_its_place_in_the_page_and_nothing_else(tmp_path: Path) -> None:
    chained = {(0.3, s): "1101" * 5 for s in (0, 1, 2)}
    write_sweep(tmp_path / "tray_stitch_no_links", chained | {(0.0, 0): "0100" * 5})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table tray_stitch -->\nold\n<!-- end tray_stitch -->\nafter\n")
    written = write_report(tmp_path, results=tmp_path / "results", pages=[page])
    text = page.read_text()
    assert text.startswith("before\n<!-- table tray_stitch -->\n| | instance grasping |")
    assert text.endswith("<!-- end tray_stitch -->\nafter\n")
    assert "old" not in text
    assert "| without chaining | 25 [" in text
    assert "| random goals (the paper's chaining) | 75 [" in text
    assert "*without chaining - random goals (the paper's chaining)* | -50 [" in text
    assert [path.name for path in written] == ["tray_stitch.json", "tray_stitch.png", "page.md"]
    row = json.loads(written[0].read_text())["rows"]["random goals (the paper's chaining)"]
    assert row["tasks"][TASK]["episodes"] == ["1101" * 5] * 3


def test_downstream_studies_have_a_line_for_each_number_of_episodes(tmp_path: Path) -> None:
    def row(arm: str, episodes: int, rate: float | None) -> dict[str, Any]:
        seeds = {"0": 0.0, "1": rate, "2": 0.5}
        return {"arm": arm, "episodes": episodes, "seeds": 3, "rate": rate, "interval": [0.0, 0.5], "seed_rates": seeds}

    rows = [row("scratch", 50, 0.02), row("pretrained", 50, 0.2), row("scratch", 25, 0.0), row("pretrained", 25, None)]
    estimate = {"mean": 0.18, "interval": [0.05, 0.31], "p": 0.01}
    content = {"success": rows, "differences": [{"arm": "pretrained", "episodes": 50, "method": estimate}]}
    folder = tmp_path / "downstream_banana" / "comparison"
    folder.mkdir(parents=True)
    (folder / "comparison.json").write_text(json.dumps(content))
    page = tmp_path / "page.md"
    page.write_text("<!-- table downstream -->\n<!-- end downstream -->\n")
    written = write_report(tmp_path, results=tmp_path / "results", pages=[page])
    assert [path.name for path in written] == ["downstream.json", "downstream.png", "page.md"]
    banana = [
        "| grasp banana | 25 | 3 | 0 [0, 50] |  |  |",
        "| grasp banana | 50 | 3 | 2 [0, 50] | 20 [0, 50] | +18 [+5, +31] |",
    ]
    assert page.read_text().splitlines()[1:-1] == [
        "| task | labelled episodes | seeds | scratch | pretrained | *pretrained - scratch* |",
        "|---|---|---|---|---|---|",
        *banana,
    ]
    # A task that is not run here stays as published, and the order is that of the tasks.
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "downstream_box").mkdir(parents=True)
    folder.rename(elsewhere / "downstream_box" / "comparison")
    write_report(elsewhere, results=tmp_path / "results", pages=[page])
    box = [line.replace("banana", "box") for line in banana]
    assert page.read_text().splitlines()[3:-1] == [*box, *banana]


def test_evaluations_under_other_conditions_have_a_table_of_their_own(tmp_path: Path) -> None:
    rates = {TASK: {"success_rate": 0.5, "n": 2, "interval": [0.1, 0.9]}}
    (tmp_path / "conditions").mkdir()
    for condition in STATE.conditions[:2]:
        (tmp_path / STATE.file(condition)).write_text(json.dumps({"tasks": rates}))
    page = tmp_path / "page.md"
    page.write_text("<!-- table generalisation_state -->\n<!-- end generalisation_state -->\n")
    written = write_report(tmp_path, results=tmp_path / "results", pages=[page])
    assert [path.name for path in written] == ["generalisation_state.json", "page.md"]
    assert "| as in the data, five objects | 50 [10, 90] |\n| 4 objects | 50 [10, 90] |" in page.read_text()
    assert json.loads(written[0].read_text())["4 objects"]["tasks"] == rates


def test_baselines_have_a_table_of_their_own(tmp_path: Path) -> None:
    rates = [{TASK: {"success_rate": rate, "n": 2, "interval": [0.1, 0.9]}} for rate in (0.5, 0.2, 1.0)]
    told = {"tasks": rates[0], "random": rates[1], "oracle": rates[2], "seed": 100, "checkpoint": "c", "acting": "cem"}
    (tmp_path / "baselines").mkdir()
    (tmp_path / BASELINES["tray"]).write_text(json.dumps(told))
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_baselines -->\n<!-- end tray_baselines -->\n")
    written = write_report(tmp_path, results=results, pages=[page])
    assert [path.name for path in written] == ["tray_baselines.json", "page.md"]
    assert "| random actions | 20 [10, 90] |\n| scripted oracle | 100 [10, 90] |" in page.read_text()
    # Whose rates they are and on which goals, not of which checkpoint.
    assert json.loads(written[0].read_text())["scripted oracle"] == {"tasks": rates[2], "seed": 100}


def test_lines_of_a_policy_that_acts_otherwise_do_not_stay(tmp_path: Path) -> None:
    page, results = tmp_path / "page.md", tmp_path / "results"
    (tmp_path / "conditions").mkdir()
    first, second = STATE.conditions[:2]
    for acting, conditions in (("likely", (first, second)), ("drawn", (first,))):
        for condition in conditions:
            told = {"tasks": {TASK: {"success_rate": 0.5, "n": 2, "interval": [0.1, 0.9]}}, "acting": acting}
            (tmp_path / STATE.file(condition)).write_text(json.dumps(told))
        page.write_text("<!-- table generalisation_state --><!-- end generalisation_state -->")
        write_report(tmp_path, results=results, pages=[page])
        for condition in conditions:
            (tmp_path / STATE.file(condition)).unlink()
    published = json.loads((results / "generalisation_state.json").read_text())
    assert {label: line["acting"] for label, line in published.items()} == {first.label: "drawn"}


def test_a_single_row_has_no_figure(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "tray_stitch_20k", {(0.0, 0): "1011"}, seeds=seeds)
    written = write_report(tmp_path, results=tmp_path / "results", pages=[])
    assert [path.name for path in written] == ["tray_stitch_20k.json"]


def test_pictures_are_copied_from_the_runs(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "policy_panels.png").write_bytes(b"png")
    written = write_report(tmp_path, results=tmp_path / "results", pages=[tmp_path / "none.md"])
    assert written == [tmp_path / "results" / "policy_panels.png"]
    assert written[0].read_bytes() == b"png"


def test_a_table_of_one_cell_has_no_difference(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, 0): "10"})
    found = cell(read_sweep(tmp_path / "s"), {})
    assert found is not None
    assert "- " not in markdown({"Actionable Models": found})


def test_a_row_that_was_not_run_here_stays_as_published(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "both" / "tray_play_10k", {(0.0, 0): "10-1", (0.0, 1): "1110"}, seeds=seeds)
    write_sweep(tmp_path / "both" / "tray_play_10k_cloning", {(0.0, 0): "1000", (0.0, 1): "0010"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_play_10k --><!-- end tray_play_10k -->")
    write_report(tmp_path / "both", results=results, pages=[page])
    both, text = (results / "tray_play_10k.json").read_text(), page.read_text()

    (tmp_path / "here").mkdir()
    shutil.copytree(tmp_path / "both" / "tray_play_10k", tmp_path / "here" / "tray_play_10k")
    write_report(tmp_path / "here", results=results, pages=[page])
    assert ((results / "tray_play_10k.json").read_text(), page.read_text()) == (both, text)


def test_of_a_row_run_here_and_published_the_one_with_more_seeds_stays(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "long" / "tray_play_10k", {(0.0, 0): "1111", (0.0, 1): "1111"}, seeds=seeds)
    write_sweep(tmp_path / "short" / "tray_play_10k", {(0.0, 0): "0000"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    other = tmp_path / "short" / "tray_play_10k" / "results.json"
    other.write_text(other.read_text().replace('"abc"', '"def"'))
    for runs in ("long", "short"):
        write_report(tmp_path / runs, results=results, pages=[page])
    content = json.loads((results / "tray_play_10k.json").read_text())
    assert content["sweeps"]["tray_play_10k"]["git_commit"] == "abc"
    (row,) = content["rows"].values()
    assert (row["seeds"], row["tasks"][TASK]["episodes"]) == ([0, 1], ["1111", "1111"])


def test_what_was_run_is_told_from_what_was_published_episode_by_episode(tmp_path: Path) -> None:
    seeds, results = episode_seeds(EVALUATION_SEED, TASK, 4), tmp_path / "results"
    before = {(0.0, 0): "11-1", (0.0, 1): "1010"}
    write_sweep(tmp_path / "before" / "tray_play_10k", before, seeds=seeds)
    write_report(tmp_path / "before", results=results, pages=[])
    row = "tray_play_10k, by CEM, without the auxiliary cloning loss"
    assert reproduction_lines(tmp_path / "before", results) == [f"{row}: 8 episodes end as published"]
    write_sweep(tmp_path / "now" / "tray_play_10k", {(0.0, 1): "0011", (0.0, 2): "0000"}, seeds=seeds)
    assert reproduction_lines(tmp_path / "now", results) == [f"{row}: 2 of 4 episodes end differently than published"]
    write_sweep(tmp_path / "others" / "tray_play_10k", before)  # other starts
    assert reproduction_lines(tmp_path / "others", results) == []


def test_a_source_that_no_row_has_any_more_is_not_published_again(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "tray_play_10k", {(0.0, 0): "1111"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    write_report(tmp_path, results=results, pages=[page])
    published = results / "tray_play_10k.json"
    content = json.loads(published.read_text())
    content["sweeps"]["gone"] = content["sweeps"]["tray_play_10k"]
    published.write_text(json.dumps(content))
    write_report(tmp_path, results=results, pages=[page])
    assert list(json.loads(published.read_text())["sweeps"]) == ["tray_play_10k"]


def test_image_policies_are_compared_by_seed_and_start_and_stay_as_published(tmp_path: Path) -> None:
    ours, by_cem, _, _, cloning, _ = IMAGE_ROWS
    for row, outcomes in ((ours, "1111" * 10), (by_cem, "1100" * 10), (cloning, "1000" * 10)):
        for seed in (0, 2) if row is cloning else (0, 1):
            write_evaluation(tmp_path / "a" / row.evaluation(seed), outcomes, acting=row.acting)
            log = tmp_path / "a" / row.folder(seed) / "log.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            log.with_name("manifest.json").touch()
            log.write_text(f'{{"update": 1, "seconds": 1}}\n{{"update": {100 + seed}, "seconds": 90.0}}\n')
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_play_images --><!-- end tray_play_images -->")
    write_report(tmp_path / "a", results=results, pages=[page])
    text = page.read_text()
    assert re.search(r"\| Actionable Models \| 100 \[.*\| 2 \| 40 \| 100 \| 1.5 min \|", text)
    assert "| *Actionable Models - acting by CEM* | +50 [" in text
    assert "| *Actionable Models - behaviour cloning (GCBC)* | +75 [" in text  # over seed 0, which both have

    shutil.copytree(tmp_path / "a" / ours.folder(0), tmp_path / "b" / ours.folder(0))
    write_evaluation(tmp_path / "b" / ours.evaluation(0), "0000" * 10)  # fewer seeds than published
    write_report(tmp_path / "b", results=results, pages=[page])
    assert page.read_text() == text
    assert (
        json.loads((results / "tray_play_images.json").read_text())["sweeps"]["actionable_models_cem"]["acting"]
        == "cem"
    )
    write_evaluation(
        tmp_path / "a" / ours.evaluation(1), "1111" * 10, acting="likely"
    )  # the other one, of before, says nothing
    assert ours.cell(tmp_path / "a") is not None
    write_evaluation(tmp_path / "a" / ours.evaluation(0), "1111" * 10, acting="likely")
    others: list[dict[str, Any]] = [{"seed": 1}, {"acting": "cem"}, {"max_steps": 60}]
    for other in others:
        write_evaluation(tmp_path / "a" / ours.evaluation(1), "1111" * 10, **other)
        with pytest.raises(ValueError, match="expected the same starts"):
            ours.cell(tmp_path / "a")
    write_evaluation(tmp_path / "a" / ours.evaluation(1), "1111")
    with pytest.raises(ValueError, match="expected the same starts"):
        ours.cell(tmp_path / "a")
    (tmp_path / "a" / ours.folder(1) / "manifest.json").unlink()  # its training was begun anew
    found = ours.cell(tmp_path / "a")
    assert found is not None and found.seeds == (0,)


def test_a_sweeps_networks_acting_otherwise_are_a_row_beside_it(tmp_path: Path) -> None:
    seeds = episode_seeds(EVALUATION_SEED, TASK, 4)
    write_sweep(tmp_path / "tray_stitch_recipe", {(0.7, 0): "1111", (0.7, 1): "1110"}, seeds=seeds)
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text("<!-- table tray_stitch --><!-- end tray_stitch -->")
    write_report(tmp_path, results=results, pages=[page])
    assert "without Q" not in page.read_text()
    (row,) = [row for row in SWEEP_ROWS if row.key == "tray_stitch_recipe_cloned_drawn"]
    write_evaluation(tmp_path / row.evaluation(1), "1000", acting="cloned_drawn")
    write_report(tmp_path, results=results, pages=[page])
    assert "| acting by the cloning head, without Q | 25 [" in page.read_text()
    assert "*Actionable Models, linked goals - acting by the cloning head, without Q* | +50 [" in page.read_text()
    assert json.loads((results / "tray_stitch.json").read_text())["sweeps"][row.key]["acting"] == "cloned_drawn"


def test_cloning_has_a_colour_of_its_own() -> None:
    assert method_color("with the auxiliary cloning loss") == method_color("Actionable Models")
    assert method_color("behaviour cloning (GCBC), the likelier gripper") != method_color("Actionable Models")


def test_pairs_of_rows_are_compared_where_both_are_there(tmp_path: Path) -> None:
    write_sweep(tmp_path / "s", {(0.1, 0): "1100", (0.1, 1): "1100", (0.5, 0): "1111", (0.5, 1): "1111"})
    sweep = read_sweep(tmp_path / "s")
    few, many = (cell(sweep, {CHAINING: ratio}) for ratio in (0.1, 0.5))
    assert few is not None
    assert many is not None
    rows = {"first": few, "With more": many, "with few": few}
    lines = markdown(rows, [("With more", "with few"), ("With more", "not run")]).splitlines()
    compared = [line.split("|")[1].strip() for line in lines if " - " in line.split("|")[1]]
    assert compared == ["*first - with more*", "*first - with few*", "*With more - with few*"]
    assert lines[-1].split("|")[2].strip().startswith("+50")


def test_pairs_are_of_rows_that_the_table_has() -> None:
    assert sum(len(table.pairs) for table in TABLES) >= 3
    for table in TABLES:
        labels = [row.label for row in table.rows if not table.has_curves]
        assert all(set(pair) <= set(labels) for pair in table.pairs)
