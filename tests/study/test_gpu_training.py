"""Packed data and training without Ray: nothing is lost on the way, and the checkpoint acts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from am_ray.collection import collect
from am_ray.data.reader import read_dataset
from am_ray.models.checkpoint import find_checkpoint, load_policy, read_checkpoint
from am_ray.types import DatasetError, SettingsError
from study import cloning_head, gpu_training, packed
from study.ship import ship

IMAGES = {"front": None}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "tray"
    recipe = out.with_name("recipe.yaml")
    recipe.write_text(
        "{arm: gantry, observation: image_gripper, image_size: 16, num_objects: [1, 2], num_actions: [4, 6]}"
    )
    collect(recipe, out, episodes=12, seed=0, workers=1)
    return out


def test_unpacked_episodes_are_those_of_the_dataset(dataset: Path, tmp_path: Path) -> None:
    packed.pack(dataset, tmp_path)
    found, expected = packed.unpack(tmp_path), read_dataset(dataset)
    block = expected.read_all()
    assert found.spec == expected.spec
    assert found.spec.goal_indices == IMAGES
    assert found.origin["digest"] == expected.digest
    for name, values in block.observations.items():
        assert np.array_equal(found.block.observations[name], values)
    assert np.array_equal(found.block.actions, block.actions)
    assert np.array_equal(found.block.first_row, block.first_row)
    assert np.array_equal(found.block.num_transitions, block.num_transitions)


def test_images_can_be_packed_alone(dataset: Path, tmp_path: Path) -> None:
    packed.pack(dataset, tmp_path, images_only=True)
    found = packed.unpack(tmp_path)
    assert found.spec.observation_shapes == {"front": (16, 16, 3)}
    assert found.spec.goal_indices == IMAGES
    assert found.origin["environment"]["kwargs"]["observation"] == "image"
    assert list(found.block.observations) == ["front"]


def test_frames_of_too_many_colours_are_refused(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_MAX_COLORS", 3)
    with pytest.raises(DatasetError, match=r"front: frames of [0-9,]+ colours; packing takes at most 3"):
        packed.pack(dataset, tmp_path)


def test_training_by_the_clock_ends_by_it_and_too_few_episodes_are_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed.pack(dataset, tmp_path / "packed")
    config = tmp_path / "config.yaml"
    config.write_text(
        "{algorithm: {model: {width: 8, image_channels: [4]}, optimization: {batch_size: 8, max_gradient_norm: 0}}}"
    )
    settings, _ = gpu_training.read_config(config, [])
    found = packed.unpack(tmp_path / "packed")
    with pytest.raises(DatasetError, match="12 episodes; expected more than the 200"):
        gpu_training.train(found, settings, tmp_path / "no", seed=0, updates=5, minutes=0.0, every=5)
    monkeypatch.setattr(gpu_training, "HELD_OUT", 2)
    linked, _ = gpu_training.read_config(config, ["relabel.chaining_window=1", "relabel.chaining_neighbors=2"])
    with pytest.raises(SettingsError, match=r"chaining_neighbors: got 2; expected 0.*am-ray pretrain"):
        gpu_training.train(found, linked, tmp_path / "no", seed=0, updates=5, minutes=0.0, every=5)
    # Twelve seconds: a busy machine was seen to take six for the first update.
    gpu_training.train(found, settings, tmp_path / "run", seed=0, updates=1, minutes=0.2, every=10_000)
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["update"] > 1
    assert 12.0 <= last["seconds"] < 60.0


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
def test_training_learns_and_leaves_a_checkpoint_that_acts(
    dataset: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed.pack(dataset, tmp_path / "packed")
    config = tmp_path / "config.yaml"
    config.write_text(
        "algorithm:\n  model: {width: 32, image_channels: [8, 8], image_blocks: 1, mirror_action: [1, 3], mirror_state: [1, 3]}\n"
        "  critic: {cloning_weight: 0.1}\n  optimization: {batch_size: 32, decay_share: 0.5}\ntraining: {updates: 5}\n"
    )
    monkeypatch.setattr(gpu_training, "HELD_OUT", 2)
    settings, updates = gpu_training.read_config(config, [f"method={method}", "optimization.learning_rate=0.003"])
    assert updates == 5
    assert settings.optimization.learning_rate == 0.003
    out = tmp_path / "run"
    gpu_training.train(packed.unpack(tmp_path / "packed"), settings, out, seed=0, updates=40, minutes=0.0, every=10)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [10, 20, 30, 40]
    assert lines[-1]["train/loss"] < lines[0]["train/loss"]
    assert any(name.startswith("held_out/") for name in lines[-1])
    policy = load_policy(out)
    block = read_dataset(dataset).read_all()
    observation = {name: values[0].copy() for name, values in block.observations.items()}
    action = policy.act(observation, {"front": block.observations["front"][3].copy()})
    assert action.shape == (5,)
    assert np.abs(action).max() <= 1.0


def test_a_head_fitted_again_on_shipped_weights_draws_the_actions_and_leaves_the_rest_alone(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed.pack(dataset, tmp_path / "packed")
    config = tmp_path / "config.yaml"
    config.write_text(
        "{algorithm: {model: {width: 32, image_channels: [8, 8], mirror_action: [1, 3], mirror_state: [1, 3]}, "
        "critic: {cloning_weight: 0.1}, optimization: {batch_size: 32}}}"
    )
    monkeypatch.setattr(gpu_training, "HELD_OUT", 2)
    settings, _ = gpu_training.read_config(config, [])
    gpu_training.train(
        packed.unpack(tmp_path / "packed"), settings, tmp_path / "run", seed=0, updates=10, minutes=0.0, every=10
    )
    ship(tmp_path / "run", tmp_path / "shipped", dataset="tray")
    source = str(tmp_path / "shipped")
    losses = []
    for passes, out in (("1", tmp_path / "short"), ("30", tmp_path / "long")):
        cloning_head.main(
            [source, "--data", str(tmp_path / "packed"), "--out", str(out), "--pairs", "640", "--passes", passes]
        )
        losses.append(float(re.search(r": (-?[0-9.]+) fitted", capsys.readouterr().out)[1]))
    assert losses[1] < losses[0] - 0.5
    before, after = (read_checkpoint(find_checkpoint(path)) for path in (source, tmp_path / "long"))
    assert after.settings.critic.acting == "likely"
    assert before.settings.critic.acting == "cem"
    for name, value in before.state.weights.items():
        assert np.array_equal(after.state.weights[name], value), name
    averaged = {n for n in after.state.weights if n.startswith("acting_cloning_head.")}
    assert averaged
    for name in averaged:
        assert np.array_equal(after.state.weights[name], after.state.weights[name.removeprefix("acting_")]), name
    block = read_dataset(dataset).read_all()
    observation = {name: values[0].copy() for name, values in block.observations.items()}
    goal = {"front": block.observations["front"][3].copy()}
    by_cem, likely = (load_policy(path).act(observation, goal) for path in (source, tmp_path / "long"))
    assert np.abs(likely).max() <= 1.0
    assert not np.allclose(by_cem, likely)


def test_a_head_is_refused_where_network_or_data_do_not_fit(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed.pack(dataset, tmp_path / "packed")
    packed.pack(dataset, tmp_path / "images_only", images_only=True)
    config = tmp_path / "config.yaml"
    config.write_text("{algorithm: {model: {width: 8, image_channels: [4]}, optimization: {batch_size: 8}}}")
    monkeypatch.setattr(gpu_training, "HELD_OUT", 2)
    for run, changes in {
        "plain": [],
        "cloning": ["method=behavior_cloning"],
        "fit": ["critic.cloning_weight=0.1"],
    }.items():
        settings, _ = gpu_training.read_config(config, changes)
        found = packed.unpack(tmp_path / "packed")
        gpu_training.train(found, settings, tmp_path / run, seed=0, updates=1, minutes=0.0, every=1)

    def fit(run: str, data: str = "packed") -> None:
        cloning_head.main([str(tmp_path / run), "--data", str(tmp_path / data), "--out", str(tmp_path / "out")])

    wanted = r"expected actionable_models trained with the auxiliary loss.*Train one with"
    with pytest.raises(SettingsError, match=r"got actionable_models with critic.cloning_weight 0\.0; " + wanted):
        fit("plain")
    with pytest.raises(SettingsError, match=r"got behavior_cloning with critic.cloning_weight 0\.0; " + wanted):
        fit("cloning")
    with pytest.raises(DatasetError, match=r"images_only: got data of .*Pack the data it was trained with"):
        fit("fit", "images_only")
    monkeypatch.setattr(gpu_training, "HELD_OUT", 12)
    with pytest.raises(DatasetError, match="12 episodes; expected more than the 12"):
        fit("fit")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile builds its kernels with a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler, about itself
def test_a_compiled_encoder_learns_the_same(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed.pack(dataset, tmp_path / "packed")
    monkeypatch.setattr(gpu_training, "HELD_OUT", 2)
    config = tmp_path / "config.yaml"
    config.write_text(
        "{algorithm: {model: {width: 8, image_channels: [4], image_blocks: 1}, optimization: {batch_size: 8}}}"
    )
    settings, _ = gpu_training.read_config(config, [])
    logs = []
    for compiled in (False, True):
        out = tmp_path / f"run{compiled}"
        found = packed.unpack(tmp_path / "packed")
        gpu_training.train(found, settings, out, seed=0, updates=3, minutes=0.0, every=1, compiled=compiled)
        logs.append([json.loads(line)["train/loss"] for line in (out / "log.jsonl").read_text().splitlines()])
    np.testing.assert_allclose(logs[0], logs[1], rtol=1e-3)
