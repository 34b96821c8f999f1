"""Checkpoints: what is saved is what is read, a kill at any moment loses nothing, and nothing foreign is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import am_ray
from am_ray.models import hashed_files
from am_ray.models.checkpoint import (
    Checkpoint,
    TrainingState,
    find_checkpoint,
    latest_valid_checkpoint,
    read_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from am_ray.models.policy import GoalConditionedPolicy, Model, build_model
from am_ray.models.weights import acting_weights, load_weights
from am_ray.settings import AlgorithmSettings, ModelSettings
from am_ray.types import CheckpointError, DataSpec, DataStatistics

SPEC = DataSpec({"state": (3,)}, {"state": (0, 1)}, (-1.0, -2.0), (1.0, 2.0))
STATISTICS = DataStatistics(
    {"state": np.array([0.5, 0.0, -1.0], np.float32)},
    {"state": np.array([1.0, 2.0, 3.0], np.float32)},
    np.random.default_rng(0).uniform(-1, 1, (16, 2)).astype(np.float32),
)
SETTINGS = AlgorithmSettings(model=ModelSettings(width=8, depth=1, head_width=8, head_depth=1, proposal="learned"))
FILES = ("weights.safetensors", "optimizer.safetensors", "statistics.safetensors", "checkpoint.json", "manifest.json")


class _Killed(BaseException):
    """Stands for SIGKILL: no except clause or cleanup for errors catches it."""


def make_model(settings: AlgorithmSettings = SETTINGS) -> Model:
    torch.manual_seed(1)
    return build_model(SPEC, STATISTICS, settings)


def make_checkpoint(update: int = 5, settings: AlgorithmSettings = SETTINGS) -> Checkpoint:
    weights = {name: value.numpy().copy() for name, value in make_model(settings).state_dict().items()}
    optimizer = {"0.step": np.array(3.0, np.float32), "0.exp_avg": np.arange(6, dtype=np.float32).reshape(2, 3)}
    return Checkpoint(SPEC, STATISTICS, settings, TrainingState(weights, optimizer, update, 2, 1), {"seed": 7})


def test_a_checkpoint_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    saved = make_checkpoint()
    found = read_checkpoint(save_checkpoint(tmp_path, saved, keep=3))
    assert (found.spec, found.settings, found.origin) == (saved.spec, saved.settings, saved.origin)
    assert (found.state.update, found.state.skipped_updates, found.state.skipped_in_a_row) == (5, 2, 1)
    for mine, theirs in (
        (saved.state.weights, found.state.weights),
        (saved.state.optimizer, found.state.optimizer),
        (saved.statistics.mean, found.statistics.mean),
        (saved.statistics.std, found.statistics.std),
        ({"pool": saved.statistics.action_pool}, {"pool": found.statistics.action_pool}),
    ):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert value.shape == theirs[name].shape
            assert value.tobytes() == theirs[name].tobytes(), name


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
@pytest.mark.parametrize("by_run", [True, False])
def test_the_loaded_policy_acts_as_the_saved_model(tmp_path: Path, method: Any, by_run: bool) -> None:
    settings = dataclasses.replace(SETTINGS, method=method)
    directory = save_checkpoint(tmp_path, make_checkpoint(settings=settings), keep=1)
    policy = am_ray.load_policy(tmp_path if by_run else directory, seed=4)
    rng = np.random.default_rng(2)
    states, goals = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)
    expected = GoalConditionedPolicy(make_model(settings), seed=4).act(states, goals)
    assert np.array_equal(policy.act(states, goals), expected)
    assert policy.spec == SPEC
    assert policy.metadata["update"] == 5
    assert policy.metadata["origin"] == {"seed": 7}


def test_the_newest_are_kept_and_the_same_update_is_replaced(tmp_path: Path) -> None:
    for update in (5, 10, 15, 15):
        save_checkpoint(tmp_path, make_checkpoint(update), keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-000000010", "checkpoint-000000015"]
    assert latest_valid_checkpoint(tmp_path) == tmp_path / "checkpoint-000000015"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [_flip, _truncate, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_torn_newest_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], Any]
) -> None:
    older = save_checkpoint(tmp_path, make_checkpoint(5), keep=2)
    newest = save_checkpoint(tmp_path, make_checkpoint(10), keep=2)
    damage(newest / name)
    # A flipped digit in the manifest shows as a file that does not agree with it.
    blamed = newest.name if name == "manifest.json" else name
    with pytest.raises(CheckpointError, match=blamed):
        verify_checkpoint(newest)
    with pytest.raises(CheckpointError):
        am_ray.load_policy(newest)
    with caplog.at_level(logging.WARNING):
        assert latest_valid_checkpoint(tmp_path) == older
    assert blamed in caplog.text
    assert am_ray.load_policy(tmp_path).metadata["update"] == 5


# Five files, then two renames; one more means "not killed".
@pytest.mark.parametrize("stage", range(8))
@pytest.mark.parametrize("replaces", [False, True])
def test_killed_at_any_stage_of_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, replaces: bool
) -> None:
    save_checkpoint(tmp_path, make_checkpoint(5), keep=2)
    if replaces:
        save_checkpoint(tmp_path, make_checkpoint(10), keep=2)
    steps = iter(range(100))

    def or_die(function: Callable[..., Any], leave_half: bool) -> Callable[..., Any]:
        def wrapped(path: Path, *args: Any) -> Any:
            if next(steps) == stage:
                if leave_half:
                    path.write_bytes(args[0][: len(args[0]) // 2])
                raise _Killed
            return function(path, *args)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(hashed_files, "_write_file", or_die(hashed_files._write_file, leave_half=True))
        patch.setattr(Path, "replace", or_die(Path.replace, leave_half=False))
        try:
            save_checkpoint(tmp_path, make_checkpoint(10), keep=2)
            survived = True
        except _Killed:
            survived = False
    assert survived == (next(steps) <= stage)
    latest = latest_valid_checkpoint(tmp_path)
    assert latest is not None
    assert read_checkpoint(latest).state.update in ((10,) if survived else (5, 10))
    if not replaces and not survived:
        assert latest.name == "checkpoint-000000005"
    # The next save finds its way, and leaves no litter.
    save_checkpoint(tmp_path, make_checkpoint(15), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-000000015"]


def test_a_pickle_is_refused_and_never_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "owned"

    class Malicious:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    directory = save_checkpoint(tmp_path / "run", make_checkpoint(), keep=1)
    (directory / "algorithm_state.pkl").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError, match=r"algorithm_state\.pkl.*never unpickles"):
        am_ray.load_policy(directory)
    other = tmp_path / "rllib"
    other.mkdir()
    (other / "algorithm_state.pkl").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError, match="never unpickles"):
        am_ray.load_policy(other)
    assert not marker.exists()


def _rewrite(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes checkpoint.json with a manifest that agrees: another version, not damage."""
    path = directory / "checkpoint.json"
    description = json.loads(path.read_bytes())
    change(description)
    data = json.dumps(description).encode()
    path.write_bytes(data)
    manifest = json.loads((directory / "manifest.json").read_bytes())
    manifest["files"]["checkpoint.json"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (directory / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=2, am_ray_version="9.1"), "format version 2.*reads version 1.*am-ray 9.1"),
        (lambda d: d.update(format="other"), "not an am-ray checkpoint"),
        (lambda d: d["settings"]["model"].update(widht=3), "does not fit this version.*widht"),
        (lambda d: d.pop("spec"), "does not fit this version.*spec"),
        (lambda d: d["settings"]["model"].update(width=16), "do not fit the network"),
    ],
)
def test_other_versions_and_shapes_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    directory = save_checkpoint(tmp_path, make_checkpoint(), keep=1)
    _rewrite(directory, change)
    with pytest.raises(CheckpointError, match=message):
        am_ray.load_policy(directory)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_partial_load_is_refused_and_changes_nothing(change: str) -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = {name: value.numpy() + 1 for name, value in model.state_dict().items()}
    name = "critic.logit.weight"
    if change == "missing":
        del weights[name]
    elif change == "extra":
        name = "surprise"
        weights[name] = np.zeros(2, np.float32)
    else:
        weights[name] = weights[name][:, :-1]
    with pytest.raises(CheckpointError, match=f"here: 1 of .* {name} is"):
        load_weights(model, weights, where="here")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_path_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such directory"):
        find_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="holds no valid checkpoint"):
        find_checkpoint(tmp_path)


def test_loading_needs_no_ray(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make_checkpoint(), keep=1)
    code = (
        "import am_ray, sys; am_ray.load_policy(sys.argv[1]); print({'ray', 'pyarrow', 'pybullet'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
def test_weights_that_act_are_enough_to_act_and_to_begin_with(tmp_path: Path, method: Any) -> None:
    settings = replace(SETTINGS, method=method)
    whole = make_checkpoint(settings=settings)
    moved = {name: value + 1.0 if name.startswith("acting_") else value for name, value in whole.state.weights.items()}
    acting = acting_weights(moved)
    assert sum(value.size for value in acting.values()) < sum(value.size for value in moved.values())
    small = replace(whole, state=replace(whole.state, weights=acting))
    save_checkpoint(tmp_path, small, keep=1)
    found = read_checkpoint(find_checkpoint(tmp_path)).state.weights
    assert found.keys() == moved.keys()
    averaged = {"critic": "acting_critic", "target_critic": "acting_critic", "network": "acting_network"}
    for name, value in found.items():
        group, _, rest = name.partition(".")
        source = f"acting_{name}" if group == "proposal" else f"{averaged.get(group, group)}.{rest}" if rest else name
        np.testing.assert_array_equal(value, moved[source])


def test_a_head_that_acts_is_among_the_acting_weights(tmp_path: Path) -> None:
    critic = replace(SETTINGS.critic, cloning_weight=0.1, acting="likely", negative_behavior=4)
    settings = replace(SETTINGS, critic=critic)
    whole = make_checkpoint(settings=settings)
    heads = {name.split(".")[0] for name in acting_weights(whole.state.weights) if "_head." in name}
    assert heads == {"acting_cloning_head"}
    small = replace(whole, state=replace(whole.state, weights=acting_weights(whole.state.weights)))
    save_checkpoint(tmp_path / "small", small, keep=1)
    save_checkpoint(tmp_path / "whole", whole, keep=1)
    observation, goal = {"state": np.ones((4, 3), np.float32)}, {"state": np.zeros((4, 2), np.float32)}
    one, other = (am_ray.load_policy(tmp_path / name).act(observation, goal) for name in ("small", "whole"))
    np.testing.assert_array_equal(one, other)
    # Fine-tuning that acts by CEM takes the rest of the weights; the other way round something is missing.
    by_cem = make_model(replace(settings, critic=replace(settings.critic, acting="cem")))
    load_weights(by_cem, whole.state.weights, where="here")
    with pytest.raises(CheckpointError, match=r"acting_cloning_head.* is missing"):
        load_weights(make_model(settings), make_checkpoint().state.weights, where="here")


_CLONING = {"cloning_weight": 0.1}
_BEHAVIOR = {"cloning_weight": 0.1, "negative_behavior": 4}


@pytest.mark.parametrize(
    ("had", "has"),
    [
        (_CLONING, {}),
        ({}, _CLONING),
        (_CLONING, _CLONING),
        (_BEHAVIOR, {}),
        (_CLONING, _BEHAVIOR),
        (_BEHAVIOR, _BEHAVIOR),
    ],
)
def test_an_auxiliary_head_may_be_on_either_side_alone(had: dict[str, Any], has: dict[str, Any]) -> None:
    before, now = (replace(SETTINGS, critic=replace(SETTINGS.critic, **critic)) for critic in (had, has))
    weights = {name: value.numpy() + 1.0 for name, value in make_model(before).state_dict().items()}
    model = make_model(now)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    load_weights(model, weights, where="here")
    for name, value in model.state_dict().items():
        expected = weights[name] if name in weights else own[name].numpy()
        np.testing.assert_array_equal(value.numpy(), expected)
    assert any(name.startswith("cloning_head.") for name in own) is ("cloning_weight" in has)
    assert any(name.startswith("behavior_head.") for name in own) is ("negative_behavior" in has)
