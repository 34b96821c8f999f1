import json
from pathlib import Path

import numpy as np
import pytest

from am_ray.comparison import ComparisonError, read_study
from am_ray.comparison.study import outcome_matrix
from tests.comparison.studies import cell, write

Y, N = True, False


def test_arms_stand_in_a_fixed_order_with_the_baseline_first(tmp_path: Path) -> None:
    arms = ["aardvark", "pretrained_auxiliary", "auxiliary", "pretrained", "scratch"]
    study = read_study(write(tmp_path / "s", [cell(arm, 25, 0, [Y]) for arm in arms]))
    assert study.arms == ("scratch", "pretrained", "auxiliary", "pretrained_auxiliary", "aardvark")
    assert study.baseline == "scratch"
    assert [c.arm for c in study.cells] == list(study.arms)


def test_without_scratch_the_first_arm_is_the_baseline(tmp_path: Path) -> None:
    study = read_study(write(tmp_path / "s", [cell(arm, 25, 0, [Y]) for arm in ("auxiliary", "pretrained")]))
    assert study.baseline == "pretrained"


def test_only_cells_that_ended_as_planned_count(tmp_path: Path) -> None:
    cells = [
        cell("scratch", 25, 0, [Y]),
        cell("scratch", 50, 0, [Y], status="failed"),
        cell("scratch", 100, 0, [Y], status="stopped"),
        cell("scratch", 200, 0, [], evaluation=None),
    ]
    assert read_study(write(tmp_path / "s", cells)).sizes("scratch") == (25,)


def test_outcomes_are_placed_by_start_whatever_their_order(tmp_path: Path) -> None:
    entry = cell("scratch", 25, 3, [Y, N, None])
    entry["evaluation"]["tasks"]["grasp_box"].reverse()
    study = read_study(write(tmp_path / "s", [entry]))
    found = outcome_matrix(study.group("scratch", 25), (3, 4), study.starts)
    np.testing.assert_array_equal(found, [[1.0, 0.0, np.nan], [np.nan] * 3])


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "s", [cell("scratch", 25, 0, [Y])])
    assert read_study(folder / "results.json").folder == folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.update(kind="sweep"), "kind 'sweep'"),
        (lambda data: data.update(schema_version=2), "schema_version 2"),
        (lambda data: data.pop("task"), "KeyError: 'task'"),
        (lambda data: data["cells"][0].pop("arm"), "KeyError: 'arm'"),
        (lambda data: data["cells"][0].update(seed="one"), "ValueError"),
        (lambda data: data["cells"].append(data["cells"][0]), "25 episodes, seed 0 is there twice"),
        (
            lambda data: data["cells"][0]["evaluation"]["tasks"]["grasp_box"].append({"seed": 100, "success": 1}),
            "twice",
        ),
        (lambda data: data["cells"][0].update(evaluation=[]), "TypeError"),
    ],
)
def test_results_of_another_form_are_refused(tmp_path: Path, change: object, said: str) -> None:
    folder = write(tmp_path / "s", [cell("scratch", 25, 0, [Y])])
    data = json.loads((folder / "results.json").read_text())
    change(data)  # type: ignore[operator]
    (folder / "results.json").write_text(json.dumps(data))
    with pytest.raises(ComparisonError, match=r"results\.json: ") as error:
        read_study(folder)
    assert said in str(error.value)


@pytest.mark.parametrize("content", ["", "[1, 2", "[]", "null"])
def test_a_torn_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ComparisonError, match="am-ray finetune"):
        read_study(tmp_path)


def test_a_folder_without_results_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=r"not found.*am-ray finetune CONFIG"):
        read_study(tmp_path)
