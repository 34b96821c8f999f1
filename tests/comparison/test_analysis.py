import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.comparison import Comparison, compare, read_study
from am_ray.comparison.prose import facts
from am_ray.comparison.resampling import holm
from am_ray.comparison.tables import text_tables
from am_ray.evaluation.intervals import wilson_interval
from tests.comparison.studies import EXAMPLE_LEVELS, cell, example_cells, write


def compared(folder: Path, cells: list[dict[str, Any]]) -> Comparison:
    comparison = compare(read_study(write(folder, cells)))
    json.dumps(comparison.to_json(), allow_nan=False)  # whatever the study: no NaN, no infinity
    for row in comparison.rates:
        assert 0 <= row.interval[0] <= row.interval[1] <= 1
    for difference in (*comparison.differences, *comparison.areas):
        for low, high in (difference.method.interval, difference.policies.interval):
            assert -1 <= low < high <= 1
    return comparison


def outcomes(successes: int, n: int = 10) -> list[bool | None]:
    return [True] * successes + [False] * (n - successes)


def test_numbers_of_a_small_study_by_hand(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, seed, outcomes(k)) for seed, k in enumerate((2, 3, 4))]
    cells += [cell("pretrained", 25, seed, outcomes(k)) for seed, k in enumerate((5, 3, 8))]
    comparison = compared(tmp_path / "s", cells)
    scratch, pretrained = comparison.rates
    assert (scratch.rate, pretrained.rate) == (pytest.approx(0.3), pytest.approx(16 / 30))
    assert scratch.seed_rates == {0: 0.2, 1: 0.3, 2: 0.4}
    assert scratch.iqm == pytest.approx(0.3)  # three seeds: the mean
    (row,) = comparison.differences
    # wins: 3, 0, 4 and no loss, for the successes of a seed begin at the same start
    assert (row.seeds, row.pairs, row.excluded_pairs) == (3, 30, 0)
    assert row.method.mean == pytest.approx(7 / 30)
    assert row.p_exact == pytest.approx(0.5)  # flips of (3, 0, 4): 2 of 4 sums reach 7 in size
    assert row.p_exact_smallest == 0.25
    # columns of wins: start 2 one, 3 and 4 two each (seed 0 to 4, seed 2 from 4): see the sums below
    # seed 0 wins at starts 2, 3, 4; seed 2 at 4, 5, 6, 7: sums 1, 1, 2, 1, 1, 1, all positive
    assert row.p_policies == pytest.approx(2 / 2**6)
    # runs .5, .3, .8 against .2, .3, .4: 3 + 1.5 + 3 of 9
    assert row.improvement == pytest.approx(7.5 / 9)
    assert row.verdict == "difference not established"


def test_a_clear_difference_is_established_and_said_with_its_interval(tmp_path: Path) -> None:
    levels = {"scratch": {25: -3.0}, "pretrained": {25: 2.0}}
    comparison = compared(tmp_path / "s", example_cells(levels, seeds=6))
    (row,) = comparison.differences
    assert row.established and row.established_before_holm
    assert row.verdict == "pretrained higher than scratch"
    assert row.p_exact == pytest.approx(2 / 64)
    assert "with 25 labelled episodes: pretrained higher than scratch." in comparison.conclusions[0]
    assert not any("exact test over seeds" in note for note in comparison.notes)


def test_a_worse_arm_is_called_lower(tmp_path: Path) -> None:
    levels = {"scratch": {25: 2.0}, "pretrained": {25: -3.0}}
    (row,) = compared(tmp_path / "s", example_cells(levels, seeds=5)).differences
    assert row.verdict == "pretrained lower than scratch"
    assert row.method.interval[1] < 0


def test_equal_arms_are_not_told_apart(tmp_path: Path) -> None:
    same = [cell(arm, 25, seed, outcomes(4 + seed)) for arm in ("scratch", "pretrained") for seed in range(3)]
    (row,) = compared(tmp_path / "s", same).differences
    assert row.method.mean == 0
    assert (row.improvement, row.p_exact, row.verdict) == (0.5, 1.0, "difference not established")


def test_p_values_are_adjusted_over_sizes_and_arms(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=5))
    assert len(comparison.differences) == 9 and len(comparison.areas) == 2
    for rows in (comparison.differences, comparison.areas):
        assert [row.p_method_holm for row in rows] == holm([row.method.p for row in rows])
        assert [row.p_exact_holm for row in rows] == holm([row.p_exact for row in rows])


def test_what_holm_takes_back_is_said(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", example_cells(EXAMPLE_LEVELS, seeds=5))
    taken_back = [row for row in comparison.differences if row.established_before_holm and not row.established]
    assert taken_back
    for row in taken_back:
        assert row.p_method_holm is not None and row.p_method_holm >= 0.05
        assert row.short_verdict == "difference not established (higher before Holm)"
        assert row.verdict.endswith("but difference not established after Holm's correction for 9 comparisons")


def test_area_is_the_mean_of_the_common_sizes_by_trapezoids(tmp_path: Path) -> None:
    cells = [
        cell(arm, size, seed, outcomes(k + seed))
        for arm, ks in (("scratch", (1, 2, 4)), ("pretrained", (3, 5, 6)))
        for size, k in zip((25, 50, 100), ks, strict=True)
        for seed in range(3)
    ]
    comparison = compared(tmp_path / "s", cells)
    # seeds add 0, 1, 2 successes of 10: 0.1 on average
    areas = [(25 * (a + b) / 2 + 50 * (b + c) / 2) / 75 + 0.1 for a, b, c in ((0.1, 0.2, 0.4), (0.3, 0.5, 0.6))]
    assert [curve.area for curve in comparison.curves] == pytest.approx(areas)
    (row,) = comparison.areas
    assert row.method.mean == pytest.approx(areas[1] - areas[0])
    assert (row.episodes, row.where) == (None, "whole curve")
    # scratch reaches 0.5 at its last size, pretrained between 25 (0.4) and 50 (0.6)
    assert [curve.to_threshold_text for curve in comparison.curves] == ["100", "38"]


@pytest.mark.parametrize("successes", [0, 10])
def test_all_successes_or_none(tmp_path: Path, successes: int) -> None:
    cells = [
        cell(arm, size, seed, outcomes(successes))
        for arm in ("scratch", "pretrained")
        for size in (25, 50)
        for seed in range(3)
    ]
    comparison = compared(tmp_path / "s", cells)
    for row in comparison.rates:
        assert row.rate == successes / 10
        assert row.interval[1] - row.interval[0] > 0.2
    assert {row.verdict for row in (*comparison.differences, *comparison.areas)} == {"difference not established"}
    words = {"0": "not reached", "10": "25 or fewer"}
    assert {curve.to_threshold_text for curve in comparison.curves} == {words[str(successes)]}


def test_one_seed_is_wilson_and_says_nothing_of_the_method(tmp_path: Path) -> None:
    cells = [
        cell("scratch", 25, 0, outcomes(1, 40)),
        cell("pretrained", 25, 0, outcomes(35, 40)),
    ]
    comparison = compared(tmp_path / "s", cells)
    assert comparison.rates[0].interval == wilson_interval(1, 40)
    assert comparison.rates[0].interval_kind == "Wilson, one seed"
    assert (comparison.rates[0].bootstrap, comparison.rates[0].iqm_interval) == (None, None)
    (row,) = comparison.differences
    assert (row.method.interval, row.p_exact) == ((-1.0, 1.0), 1.0)
    assert row.policies.interval[0] > 0.5  # these two policies do differ
    assert row.p_policies is not None and row.p_policies < 1e-6
    assert row.verdict == "difference not established: one seed says nothing about the method"
    assert "+85 points [" in comparison.conclusions[0] and "for these policies" in comparison.conclusions[0]
    assert any("One seed" in note for note in comparison.notes)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_evaluation_episode(tmp_path: Path, seeds: int) -> None:
    cells = [cell("scratch", 25, s, [False]) for s in range(seeds)] + [
        cell("pretrained", 25, s, [True]) for s in range(seeds)
    ]
    (row,) = compared(tmp_path / "s", cells).differences
    assert row.method.mean == 1.0
    assert not row.established or seeds > 1


def test_no_episode_left_after_infrastructure_failures(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, s, [True, None]) for s in range(2)] + [
        cell("pretrained", 25, s, [None, None]) for s in range(2)
    ]
    comparison = compared(tmp_path / "s", cells)
    assert (comparison.rates[1].rate, comparison.rates[1].interval) == (None, (0.0, 1.0))
    (row,) = comparison.differences
    assert (row.pairs, row.excluded_pairs, row.method.mean) == (0, 4, None)
    assert row.verdict == "difference not established: no pair of episodes to compare"


def test_lost_episodes_are_left_out_of_both_arms_and_counted(tmp_path: Path) -> None:
    scratch = [cell("scratch", 25, s, [True, False, False, None]) for s in range(2)]
    pretrained = [cell("pretrained", 25, s, [None, True, False, True]) for s in range(2)]
    comparison = compared(tmp_path / "s", scratch + pretrained)
    (row,) = comparison.differences
    # pairs: starts 1 and 2 of either seed, one win of two
    assert (row.pairs, row.excluded_pairs, row.method.mean) == (4, 4, 0.5)
    assert comparison.rates[0].rate == pytest.approx(1 / 3)
    assert comparison.rates[0].episodes_per_seed == (3, 3)
    assert any("2 of scratch with 25" in note for note in comparison.notes)


def test_failed_and_missing_cells_are_named_and_not_paired(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, s, outcomes(3)) for s in range(3)] + [
        cell("pretrained", 25, s, outcomes(6)) for s in (0, 1)
    ]
    cells[1].update(status="failed", evaluation=None, error="RuntimeError: learner died\ntraceback")
    comparison = compared(tmp_path / "s", cells)
    (row,) = comparison.differences
    assert (row.seeds, row.unpaired_seeds) == (1, (1, 2))
    assert comparison.rates[0].seeds == 2
    notes = "\n".join(comparison.notes)
    assert "cell scratch-n25-s1 (failed: RuntimeError: learner died)" in notes
    assert "arm pretrained with 25 labelled episodes has no cell of seed 2" in notes


def test_one_arm_has_nothing_to_compare_with(tmp_path: Path) -> None:
    comparison = compared(tmp_path / "s", [cell("scratch", 25, s, outcomes(3)) for s in range(3)])
    assert comparison.conclusions == ("There is one arm (scratch): there is nothing to compare it with.",)
    assert len(comparison.rates) == 1 and comparison.differences == ()


def test_a_study_without_a_cell_that_counts(tmp_path: Path) -> None:
    for cells in ([], [cell("scratch", 25, 0, [True], status="failed")]):
        comparison = compared(tmp_path / "s", cells)
        assert comparison.conclusions == ("No cell has ended yet: there is nothing to compare.",)


def test_a_size_that_one_arm_has_alone_is_shown_and_not_compared(tmp_path: Path) -> None:
    cells = [cell("scratch", size, s, outcomes(3)) for size in (25, 50) for s in range(2)]
    cells += [cell("pretrained", size, s, outcomes(5)) for size in (0, 25, 50) for s in range(2)]
    comparison = compared(tmp_path / "s", cells)
    assert [(row.arm, row.episodes) for row in comparison.rates if row.episodes == 0] == [("pretrained", 0)]
    assert [row.episodes for row in comparison.differences] == [25, 50]
    assert {curve.sizes for curve in comparison.curves} == {(25, 50)}


def test_arms_without_a_common_size(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, 0, outcomes(3)), cell("pretrained", 50, 0, outcomes(5))]
    comparison = compared(tmp_path / "s", cells)
    assert comparison.conclusions == ("pretrained and scratch have no number of labelled episodes in common.",)
    assert [curve.area for curve in comparison.curves] == [None, None]


def test_the_same_results_give_the_same_numbers(tmp_path: Path) -> None:
    cells = example_cells(EXAMPLE_LEVELS, seeds=3)
    one = compared(tmp_path / "a", cells).to_json()
    shuffled = [cells[i] for i in np.random.default_rng(0).permutation(len(cells))]
    other = compared(tmp_path / "b", shuffled).to_json()
    assert {**one, "study": ""} == {**other, "study": ""}


def test_all_commits_that_a_study_was_run_at_are_told(tmp_path: Path) -> None:
    commits = f"{'a' * 40}; {'b' * 40}-dirty; unknown"
    folder = write(tmp_path / "s", [cell("scratch", 25, 0, outcomes(3))], git_commit=commits)
    assert f"Code {'a' * 12}, {'b' * 12}-dirty, unknown" in facts(compare(read_study(folder)))


def test_a_study_that_was_stopped_early_is_not_read_as_whole(tmp_path: Path) -> None:
    cells = [cell(arm, 25, s, outcomes(3)) for s in range(2) for arm in ("scratch", "pretrained")]
    planned = [f"{arm}-n25-s{s}" for s in range(6) for arm in ("scratch", "pretrained")]
    folder = write(tmp_path / "s", cells[:3], cells_planned=planned)
    comparison = compare(read_study(folder))
    first = comparison.notes[0]
    assert "9 of 12 cells are missing (pretrained-n25-s1, ...)" in first and "p values" in first
    assert "3 of 12 cells count" in ". ".join(facts(comparison))
    assert comparison.to_json()["cells"] == {"planned": 12, "counted": 3, "missing": planned[3:]}
    assert not any("has no cell of seed" in note for note in comparison.notes)
    whole = compare(read_study(write(tmp_path / "t", cells, cells_planned=planned[:4])))
    assert not any("missing" in note for note in whole.notes)


def zero_shot(folder: Path) -> Comparison:
    """Zero-shot cells as fine-tuning makes them: one update at learning rate 0 on a set that gives shapes only."""
    learnt = [cell(arm, n, s, outcomes(k)) for arm, k in ARMS for n in (25, 50) for s in range(2)]
    still = [
        cell(arm, 0, s, outcomes(k), updates=1, updates_planned=1, labelled_digest=f"one-episode-{s}")
        for arm, k in ARMS
        for s in range(2)
    ]
    return compared(folder, learnt + still)


ARMS = (("scratch", 1), ("pretrained", 6))


def test_zero_shot_is_compared_by_itself_and_is_no_part_of_the_area(tmp_path: Path) -> None:
    comparison = zero_shot(tmp_path / "s")
    assert next((row.episodes, row.where) for row in comparison.differences) == (0, "0 (zero-shot)")
    assert "with 0 (zero-shot) labelled episodes: " in "\n".join(comparison.conclusions)
    assert {curve.sizes for curve in comparison.curves} == {(25, 50)}
    assert [curve.to_threshold_text for curve in comparison.curves] == ["not reached", "0 (zero-shot)"]
    one_policy = [note for note in comparison.notes if "are one policy" in note]
    assert len(one_policy) == 1 and "all seeds of pretrained" in one_policy[0] and "2 times" in one_policy[0]
    assert not any("Not recorded" in note for note in comparison.notes)


def test_zero_shot_in_the_tables(tmp_path: Path) -> None:
    rates, _, differences, budgets = text_tables(zero_shot(tmp_path / "s"))
    assert rates.rows[0][:2] == ("scratch", "0 (zero-shot)")
    assert differences.rows[0][1] == "0 (zero-shot)"
    still, learnt = (dict(zip(budgets.columns, row, strict=True)) for row in budgets.rows[:2])
    assert (still["labelled"], still["updates"], still["labelled data"]) == ("0 (zero-shot)", "none", "none")
    assert (learnt["labelled"], learnt["updates"]) == ("25", "3,000")
