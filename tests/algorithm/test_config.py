"""The configuration: flat keys for Tune, near names for typos, spaces from the data, bundles for placement."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import pytest
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from am_ray.algorithm.algorithm import ActionableModels
from am_ray.algorithm.config import ActionableModelsConfig, flat_keys
from am_ray.settings import (
    AlgorithmSettings,
    CloningSettings,
    IngestSettings,
    PretrainSettings,
    RelabelSettings,
    ResourceSettings,
    TrainingSettings,
)
from am_ray.types import SettingsError

from .conftest import tiny_config


def test_every_field_of_every_part_has_one_flat_key() -> None:
    parts = {part.name: part for part in dataclasses.fields(AlgorithmSettings) if part.name != "method"}
    every = {(name, field.name) for name, part in parts.items() for field in dataclasses.fields(part.default_factory)}  # type: ignore[arg-type]
    assert set(flat_keys().values()) == every
    assert len(flat_keys()) == len(every)
    # RLlib's own keys are not overwritten.
    assert not set(flat_keys()) & set(vars(AlgorithmConfig()))


def test_flat_keys_become_typed_settings() -> None:
    config = ActionableModelsConfig().training(chaining_ratio=0.25, lr=1e-3, gamma=0.9, cloning_min_std=0.5, width=7)
    settings = config.algorithm_settings()
    assert settings.relabel.chaining_ratio == 0.25
    assert settings.optimization.learning_rate == 1e-3
    assert settings.critic.discount == 0.9
    assert (settings.cloning.min_std, settings.cem.min_std) == (0.5, CemMinStd)
    assert settings.model.width == 7
    assert ActionableModelsConfig().algorithm_settings() == AlgorithmSettings()


CemMinStd = AlgorithmSettings().cem.min_std


def test_a_typo_is_refused_with_the_near_name() -> None:
    with pytest.raises(SettingsError, match=r"unknown setting chaining_ration\. Did you mean chaining_ratio\?"):
        ActionableModelsConfig().training(chaining_ration=0.5)
    with pytest.raises(SettingsError, match=r"unknown setting min_std\. Did you mean"):
        ActionableModelsConfig().training(min_std=0.5)


def test_rllib_keys_still_work() -> None:
    assert ActionableModelsConfig().training(num_epochs=3).num_epochs == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"chaining_ratio": 1.5}, r"\[0.0, 1.0\]"), ({"loss": "hinge"}, "cross_entropy"), ({"width": "wide"}, "width")],
)
def test_values_are_checked_when_the_algorithm_is_built(
    point_world: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        tiny_config(point_world, **settings).build_algo()


def test_a_config_without_data_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"\.dataset\(path\)"):
        ActionableModelsConfig().environment(
            observation_space=gym.spaces.Box(0, 1, (1,)), action_space=gym.spaces.Box(0, 1, (1,))
        ).validate()


def test_a_config_file_becomes_the_same_settings(point_world: str) -> None:
    settings = PretrainSettings(
        dataset=point_world,
        seed=5,
        algorithm=AlgorithmSettings(
            method="behavior_cloning",
            relabel=RelabelSettings(chaining_ratio=0.0),
            cloning=CloningSettings(binary_entries=(-1,)),
        ),
        ingest=IngestSettings(mode="streaming", num_workers=1),
        resources=ResourceSettings(num_learners=2, num_gpus_per_learner=1.0),
        training=TrainingSettings(updates=70, updates_per_iteration=7),
    )
    config = ActionableModelsConfig.from_settings(settings)
    # The way of a Tune trial: to a plain dict and back.
    config = ActionableModelsConfig().update_from_dict(config.to_dict())
    assert config.algorithm_settings() == settings.algorithm
    assert config.ingest_settings() == settings.ingest
    assert (config.seed, config.max_updates, config.updates_per_iteration) == (5, 70, 7)
    assert config.needs_ray()
    assert config.observation_space["observation"]["state"].shape == (2,)
    assert config.observation_space["desired_goal"]["state"].shape == (2,)
    assert (config.action_space.low.tolist(), config.action_space.high.tolist()) == ([-1.0, -1.0], [1.0, 1.0])


def test_ray_is_needed_for_learners_or_streaming_only(point_world: str) -> None:
    assert not tiny_config(point_world).needs_ray()
    assert tiny_config(point_world).learners(num_learners=1).needs_ray()
    assert tiny_config(point_world).dataset(point_world, IngestSettings(mode="streaming")).needs_ray()


def test_tune_can_sweep_every_key(point_world: str) -> None:
    config = tiny_config(point_world, chaining_ratio=tune.grid_search([0.0, 0.5]))
    assert config.to_dict()["chaining_ratio"] == {"grid_search": [0.0, 0.5]}


def _bundles(config: ActionableModelsConfig) -> list[dict[str, float]]:
    factory = ActionableModels.default_resource_request(config)
    return [{name: value for name, value in bundle.items() if value} for bundle in factory.bundles]


def test_gpus_are_asked_for_by_the_learners_that_use_them(point_world: str) -> None:
    config = tiny_config(point_world)
    assert _bundles(config) == [{"CPU": 1.0}]
    assert _bundles(config.copy().learners(num_gpus_per_learner=1)) == [{"CPU": 1.0, "GPU": 1.0}]
    two = config.copy().learners(num_learners=2, num_cpus_per_learner=3, num_gpus_per_learner=1)
    assert _bundles(two) == [{"CPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}]
