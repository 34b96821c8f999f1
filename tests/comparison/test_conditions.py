from pathlib import Path
from typing import Any

import pytest

from am_ray.comparison import ComparisonError, compare, read_study
from am_ray.comparison.conditions import budgets
from am_ray.comparison.tables import text_tables
from tests.comparison.studies import cell, write

OUTCOMES = [True, False, True]


def two_arms(folder: Path, **changes: Any) -> Path:
    first = changes.pop("first_start", 100)
    return write(
        folder, [cell("scratch", 25, 0, OUTCOMES), cell("pretrained", 25, 0, OUTCOMES, first_start=first, **changes)]
    )


def evaluation(**changes: Any) -> dict[str, Any]:
    return {**cell("pretrained", 25, 0, OUTCOMES)["evaluation"], **changes}


@pytest.mark.parametrize(
    ("changes", "what", "values"),
    [
        ({"first_start": 101}, "starts and goals", "not shared: 100, 103"),
        ({"evaluation": evaluation(env={"id": "other/Env-v0", "kwargs": {}})}, "environment", "other/Env-v0"),
        (
            {"evaluation": evaluation(env={"id": "am_ray/Tray-v0", "kwargs": {"objects": ["milk"]}})},
            "arguments",
            "milk",
        ),
        ({"evaluation": evaluation(max_steps=80)}, "most steps", "None and 80"),
        ({"labelled_digest": "digest-other"}, "labelled data", "'digest-25-0' and 'digest-other'"),
        ({"updates": 6000}, "gradient updates", "3000 and 6000"),
        ({"batch_size": 512}, "batch size", "256 and 512"),
    ],
)
def test_arms_that_were_not_treated_alike_are_refused(
    tmp_path: Path, changes: dict[str, Any], what: str, values: str
) -> None:
    study = read_study(two_arms(tmp_path / "s", **changes))
    with pytest.raises(ComparisonError, match="scratch-n25-s0 and pretrained-n25-s0 differ in") as error:
        compare(study)
    assert what in str(error.value)
    assert values in str(error.value)


def test_fewer_evaluation_episodes_are_other_starts(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, 0, OUTCOMES), cell("pretrained", 25, 0, OUTCOMES[:2])]
    with pytest.raises(ComparisonError, match=r"3 episodes and 2 episodes \(not shared: 102\)"):
        compare(read_study(write(tmp_path / "s", cells)))


def test_what_may_differ_between_sizes_and_seeds(tmp_path: Path) -> None:
    """Other labelled episodes for other seeds and sizes, other updates for other sizes."""
    cells = [
        cell(arm, size, seed, OUTCOMES, updates=size * 10)
        for arm in ("scratch", "pretrained")
        for size in (25, 50)
        for seed in (0, 1)
    ]
    assert len(compare(read_study(write(tmp_path / "s", cells))).differences) == 2


def test_a_cell_that_does_not_count_may_differ(tmp_path: Path) -> None:
    study = read_study(two_arms(tmp_path / "s", updates=10, status="stopped"))
    assert compare(study).differences == ()


def test_budgets_are_listed_for_every_arm_and_size(tmp_path: Path) -> None:
    cells = [
        cell("scratch", 25, 0, OUTCOMES, minutes=1.0),
        cell("scratch", 25, 1, OUTCOMES, minutes=2.0),
        cell("auxiliary", 25, 0, OUTCOMES, parameters=1_000, tuning_trials=9),
    ]
    scratch, auxiliary = budgets(read_study(write(tmp_path / "s", cells)))
    assert (scratch.cells, scratch.updates, scratch.minutes) == (2, "3,000", 1.5)
    assert scratch.labelled == {0: "digest-25-0", 1: "digest-25-1"}
    assert (auxiliary.parameters, auxiliary.tuning_trials, auxiliary.unlabelled) == ("1,000", "9", ("auxiliary-data",))


def test_differences_that_are_no_reason_to_refuse_are_said(tmp_path: Path) -> None:
    study = read_study(
        two_arms(tmp_path / "s", parameters=99, tuning_trials=20, learning_rate=1e-5, unlabelled_digest="u")
    )
    notes = "\n".join(compare(study).notes)
    assert "differ in number of parameters: scratch 123,456, pretrained 99" in notes
    assert "differ in tuning trials: scratch 0, pretrained 20" in notes
    assert "differ in learning rate: scratch 0.0005, pretrained 1e-05" in notes
    assert "without labels were used during fine-tuning as well by: pretrained" in notes
    assert "Pre-training is not counted as budget of: pretrained" in notes
    assert "All seeds of pretrained start from one checkpoint" in notes


def test_seeds_from_several_checkpoints_are_listed_each(tmp_path: Path) -> None:
    cells = [cell("scratch", 25, seed, OUTCOMES) for seed in (0, 1)]
    cells += [
        cell(
            "pretrained",
            25,
            seed,
            OUTCOMES,
            pretrained_from={"path": f"runs/pre{seed}", "update": 1, "dataset_digest": "d"},
        )
        for seed in (0, 1)
    ]
    comparison = compare(read_study(write(tmp_path / "s", cells)))
    assert [source["path"] for source in comparison.pretraining["pretrained"]] == ["runs/pre0", "runs/pre1"]
    assert not any("one checkpoint" in note for note in comparison.notes)


def test_evidence_that_is_missing_is_said(tmp_path: Path) -> None:
    cells = [cell(arm, 25, 0, OUTCOMES, labelled_digest=None) for arm in ("scratch", "pretrained")]
    notes = compare(read_study(write(tmp_path / "s", cells))).notes
    assert any("not known to be equal: labelled_digest of 2 cells" in note for note in notes)


def test_tuning_that_is_not_stated_is_not_called_none(tmp_path: Path) -> None:
    comparison = compare(read_study(two_arms(tmp_path / "s", tuning_trials=None)))
    notes = "\n".join(comparison.notes)
    assert "differ in tuning trials: scratch 0, pretrained not stated." in notes
    assert "not known to be equal: tuning_trials of 1 cells (pretrained-n25-s0, ...)" in notes
    budget = text_tables(comparison)[3]
    column = budget.columns.index("tuning trials")
    assert [row[column] for row in budget.rows] == ["0", "not stated"]
    assert comparison.to_json()["budget"][1]["tuning_trials"] is None


FOUR_ARMS = {
    "scratch": {"scale_from": "labelled", "transitions_per_update": 256},
    "pretrained": {"scale_from": "pretraining", "transitions_per_update": 256},
    "auxiliary": {"scale_from": "unlabelled", "transitions_per_update": 512},
    "pretrained_auxiliary": {"scale_from": "pretraining", "transitions_per_update": 512},
}


def test_arms_that_see_more_or_scale_otherwise_are_said(tmp_path: Path) -> None:
    cells = [cell(arm, 25, 0, OUTCOMES, **changes) for arm, changes in FOUR_ARMS.items()]
    comparison = compare(read_study(write(tmp_path / "s", cells)))
    notes = "\n".join(comparison.notes)
    seen = "scratch 256, pretrained 256, auxiliary 512, pretrained_auxiliary 512"
    assert f"differ in transitions per update ({seen})" in notes
    scales = "scratch labelled, pretrained pretraining, auxiliary unlabelled, pretrained_auxiliary pretraining"
    assert f"inputs are standardised with ({scales})" in notes
    budget = text_tables(comparison)[3]
    columns = [budget.columns.index(name) for name in ("arm", "transitions per update", "scale from")]
    assert [row[columns[1]] for row in budget.rows] == ["256", "256", "512", "512"]
    assert tuple(budget.rows[-1][column] for column in columns) == ("pretrained_auxiliary", "512", "pretraining")


def test_equal_and_unknown_ways_of_learning_are_not_remarked(tmp_path: Path) -> None:
    for changes in ({}, FOUR_ARMS["scratch"]):
        cells = [cell(arm, 25, 0, OUTCOMES, **changes) for arm in ("scratch", "pretrained")]
        # What never learns has no batches to compare.
        cells += [cell("pretrained", 0, 0, OUTCOMES, transitions_per_update=1, scale_from="pretraining")]
        notes = "\n".join(compare(read_study(write(tmp_path / "s", cells))).notes)
        assert "transitions" not in notes and "standardised" not in notes
