"""What Q says of actions: on a Q that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from am_ray.data.reader import read_dataset
from am_ray.data.scale import data_statistics
from am_ray.data.writer import write_dataset
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.checkpoint import Checkpoint, TrainingState, write_checkpoint
from am_ray.models.policy import build_model
from am_ray.settings import AlgorithmSettings, ModelSettings, RelabelSettings
from am_ray.types import SettingsError, Trajectory
from study.action_values import action_values, main

SLOPE = 10.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, rng = tmp_path_factory.mktemp("data") / "points", np.random.default_rng(0)
    trajectories = [
        Trajectory({"state": rng.normal(size=(6, 2)).astype(np.float32)}, rng.uniform(-1, 1, (5, 3)).astype(np.float32))
        for _ in range(60)
    ]
    write_dataset(out, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return out


def written(dataset: Path, out: Path, settings: AlgorithmSettings) -> Path:
    """A checkpoint whose logit is SLOPE times the first entry of the action, if it has a Q."""
    data = read_dataset(dataset)
    statistics = data_statistics(data)
    model = build_model(data.spec, statistics, settings)
    if isinstance(model, ActionableModel):
        critic = model.acting_critic
        for parameter in critic.parameters():
            parameter.data.zero_()
        # Two hidden units, one for each sign.
        critic.from_action.weight.data[:2, 0] = torch.tensor([1.0, -1.0])
        hidden = [layer for layer in critic.hidden if isinstance(layer, torch.nn.Linear)]
        for layer in hidden:
            layer.weight.data.copy_(torch.eye(len(layer.weight)))
        critic.logit.weight.data[0, :2] = torch.tensor([SLOPE, -SLOPE])
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    out.mkdir()
    write_checkpoint(out, Checkpoint(data.spec, statistics, settings, TrainingState(weights, {})))
    return out


def test_a_q_of_the_first_entry_alone_prefers_the_actions_that_have_more_of_it(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = written(dataset, tmp_path / "checkpoint", AlgorithmSettings(model=ModelSettings(width=16)))
    found = action_values(str(checkpoint), str(dataset), goals=256, seed=0)
    assert found.q_uniform == pytest.approx(0.5, abs=0.02)
    assert found.q_taken == pytest.approx(torch.sigmoid(torch.tensor(SLOPE)).item(), abs=0.01)
    # The taken action has 1 there: what is above the data's is as long a part of [-1, 1] as it is away from 1.
    assert found.above_data == pytest.approx(found.distances[0] / 2, abs=0.01)
    assert found.same_sign[0] == pytest.approx(found.q_data, abs=0.15)
    main([str(checkpoint), "--dataset", str(dataset), "--goals", "256", "--seed", "0"])
    assert (
        f"Q of the data's action {found.q_data:.2f}, of uniform ones {found.q_uniform:.3f}" in capsys.readouterr().out
    )


def test_goals_are_those_of_own_episodes_whatever_a_checkpoint_learnt_from(dataset: Path, tmp_path: Path) -> None:
    settings = AlgorithmSettings(model=ModelSettings(width=16))
    others = replace(settings, relabel=RelabelSettings(chaining_ratio=0.5, last_state_share=0.9))
    found = [
        action_values(str(written(dataset, tmp_path / name, each)), str(dataset), goals=64, seed=0)
        for name, each in (("plain", settings), ("others", others))
    ]
    assert found[0] == found[1]
    # Episodes of five actions: one to five steps are left.
    assert 0.98**4 < found[0].achieved < 1.0


@pytest.mark.parametrize(
    ("options", "said"), [(["--goals", "0"], "--goals: got 0; expected at least 1"), ([], "nowhere: no such directory")]
)
def test_what_cannot_be_looked_at_is_said_in_a_line(
    dataset: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere"), "--dataset", str(dataset), *options])
    assert said in capsys.readouterr().err


def test_a_policy_without_q_of_goals_is_refused(dataset: Path, tmp_path: Path) -> None:
    cloning = AlgorithmSettings(method="behavior_cloning", model=ModelSettings(width=16))
    checkpoint = written(dataset, tmp_path / "cloning", cloning)
    with pytest.raises(SettingsError, match=r"got behavior_cloning; expected actionable_models"):
        action_values(str(checkpoint), str(dataset), goals=16, seed=0)
