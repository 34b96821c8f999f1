"""`am-ray evaluate` on a shipped checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from am_ray.cli.main import main
from am_ray.models.checkpoint import read_checkpoint, write_checkpoint
from am_ray.models.policy import build_model

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "tray_play_state"


def test_without_baselines_the_checkpoint_acts_alone_in_the_world_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = [
        "--episodes",
        "1",
        "--tasks",
        "instance_grasping",
        "--workers",
        "1",
        "--max-steps",
        "3",
        "--json",
        str(file),
    ]
    world = ["--env-kwargs", json.dumps({"num_objects": 1, "targets": ["can"]})]
    assert main(["evaluate", str(SHIPPED), "--no-baselines", *options, *world]) == 0
    found = json.loads(file.read_text())
    assert found["tasks"]["instance_grasping"]["n"] == 1
    assert found["random"] is None and found["oracle"] is None
    assert found["env"]["kwargs"]["targets"] == ["can"]


def test_a_checkpoint_can_act_otherwise_than_it_was_trained_to(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    options = ["--episodes", "1", "--tasks", "rearrangement", "--workers", "1", "--max-steps", "2", "--no-baselines"]
    for asked, acting in (([], "drawn"), (["--acting", "cloned"], "cloned")):
        assert main(["evaluate", str(SHIPPED), *options, *asked, "--json", str(file)]) == 0
        assert json.loads(file.read_text())["acting"] == acting


def test_a_cloned_policy_can_act_otherwise_too_but_not_by_a_critic(tmp_path: Path, capsys: Any) -> None:
    shipped = read_checkpoint(SHIPPED)
    settings = replace(
        shipped.settings, method="behavior_cloning", cloning=replace(shipped.settings.cloning, act="mean")
    )
    weights = build_model(shipped.spec, shipped.statistics, settings).state_dict()
    state = replace(shipped.state, weights={name: value.numpy() for name, value in weights.items()})
    write_checkpoint(tmp_path, replace(shipped, settings=settings, state=state))
    file = tmp_path / "out.json"
    options = ["--episodes", "1", "--tasks", "rearrangement", "--workers", "1", "--max-steps", "2", "--no-baselines"]
    for asked, acting in (([], "mean"), (["--acting", "drawn"], "drawn")):
        assert main(["evaluate", str(tmp_path), *options, *asked, "--json", str(file)]) == 0
        assert json.loads(file.read_text())["acting"] == acting
    assert main(["evaluate", str(tmp_path), *options, "--acting", "cem"]) != 0
    assert (
        "got cem for a policy of method behavior_cloning; expected one of mode, mean, drawn" in capsys.readouterr().err
    )


def test_a_checkpoint_without_an_averaged_head_is_refused_before_there_are_workers(tmp_path: Path, capsys: Any) -> None:
    shipped = read_checkpoint(SHIPPED)
    critic = replace(shipped.settings.critic, acting="cem")
    weights = {n: w for n, w in shipped.state.weights.items() if not n.startswith("acting_cloning_head.")}
    write_checkpoint(
        tmp_path,
        replace(
            shipped,
            settings=replace(shipped.settings, critic=critic),
            state=replace(shipped.state, weights=weights),
        ),
    )
    assert main(["evaluate", str(tmp_path), "--acting", "likely"]) != 0
    assert "acting: got likely for a model trained with critic.acting: cem" in capsys.readouterr().err
