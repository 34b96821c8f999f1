"""The demo's whole way at a scale that means nothing, so that `make demo` cannot rot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from am_ray.demo import IMAGE_DEMO, STATE_DEMO, DemoScale, run_demo, smoke
from am_ray.types import DatasetError

ROWS = ("tasks", "random", "oracle", "behavior_cloning")


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("scale", [STATE_DEMO, IMAGE_DEMO], ids=["state", "images"])
def test_the_demo_writes_what_it_promises(tmp_path: Path, scale: DemoScale) -> None:
    result = run_demo(tmp_path, smoke(scale))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary))
    assert summary["seconds"] > sum(summary["stages"].values()) * 0.99
    for row in ROWS:
        assert set(summary[row]) == {"instance_grasping", "rearrangement", "container_placing"}
    assert summary["oracle"]["instance_grasping"]["success_rate"] == 1.0
    assert summary["random"]["instance_grasping"]["success_rate"] == 0.0
    if scale.finetune:
        assert result.comparison is not None and result.report is not None
        assert {(row.arm, row.episodes) for row in result.comparison.rates} == {("scratch", 5), ("pretrained", 5)}
        assert summary["finetune"] == json.loads(json.dumps(result.comparison.to_json()))
        assert result.report.html.exists() and (tmp_path / "mlflow.db").exists()
        assert f"am-ray ui --storage {tmp_path}" in result.footer
    assert (tmp_path / "panels.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "episode.gif").read_bytes().startswith(b"GIF8")


@pytest.mark.slow
def test_data_of_another_recipe_are_refused(tmp_path: Path) -> None:
    import am_ray
    from tests.evaluation.test_learning import wander

    am_ray.write_dataset(tmp_path / "data", wander(3), fps=10.0, action_low=-1.0, action_high=1.0)
    with pytest.raises(DatasetError):
        run_demo(tmp_path, smoke(STATE_DEMO))
