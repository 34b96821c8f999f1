"""Settings on their whole way, from the config file into the weights after a few updates or into the placement."""

from __future__ import annotations

from typing import Any

import pytest

from am_ray.algorithm.algorithm import ActionableModels
from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.algorithm.learner import ObjectiveLearner
from am_ray.algorithm.offline_data import DatasetShards
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import apply_overrides

from .conftest import TINY, train

SIZES = [f"algorithm.model.{name}={TINY[name]}" for name in ("width", "depth", "head_width", "head_depth")]
# Near 1 a geometric sampling of goals is nearly uniform, and three batches may not differ.
BASE = [*SIZES, "algorithm.optimization.batch_size=16", "algorithm.critic.discount=0.9", "seed=3"]


def config_of(dataset: str, *overrides: str) -> ActionableModelsConfig:
    mapping = apply_overrides({"dataset": dataset}, [*BASE, *overrides])
    return ActionableModelsConfig.from_settings(read_settings(PretrainSettings, mapping, "test"))


def weights_of(dataset: str, *overrides: str) -> dict[str, bytes]:
    """After three updates: what the first one did to targets and averages shows in the gradients of the next."""
    config = config_of(dataset, *overrides)
    learner = ObjectiveLearner(config=config, module_spec=config.get_multi_rl_module_spec())
    learner.build()
    train(learner, DatasetShards(config).sample(1)[0], 3)
    return {name: value.tobytes() for name, value in learner.training_state().weights.items()}


@pytest.fixture(scope="module")
def plain(point_world: str) -> dict[str, bytes]:
    return weights_of(point_world)


def test_the_same_settings_give_the_same_weights(point_world: str, plain: dict[str, bytes]) -> None:
    assert weights_of(point_world) == plain


@pytest.mark.parametrize(
    "override",
    [
        "seed=4",
        "algorithm.relabel.chaining_ratio=0.1",
        "algorithm.relabel.chaining_window=1",
        "algorithm.relabel.goal_sampling=geometric",
        "algorithm.relabel.past_share=0.5",
        "algorithm.relabel.last_state_share=0.5",
        "algorithm.relabel.next_state_share=0.9",
        "algorithm.optimization.learning_rate=1e-3",
        "algorithm.optimization.batch_size=17",
        "algorithm.optimization.max_gradient_norm=1e-3",
        "algorithm.optimization.weight_decay=0.5",
        "algorithm.optimization.target_update_rate=0.5",
        "algorithm.optimization.precision=bfloat16",
        "algorithm.critic.discount=0.5",
    ],
)
def test_a_setting_of_training_changes_the_trained_weights(
    point_world: str, plain: dict[str, bytes], override: str
) -> None:
    assert weights_of(point_world, override)["critic.logit.weight"] != plain["critic.logit.weight"]


def test_method_decides_what_is_trained(point_world: str, plain: dict[str, bytes]) -> None:
    cloning = weights_of(point_world, "algorithm.method=behavior_cloning")
    assert "critic.logit.weight" in plain and "network.out.weight" not in plain
    assert "network.out.weight" in cloning and "critic.logit.weight" not in cloning


def test_acting_average_rate_changes_the_acting_weights_alone(point_world: str, plain: dict[str, bytes]) -> None:
    changed = weights_of(point_world, "algorithm.optimization.acting_average_rate=0.5")
    differ = {name for name in plain if plain[name] != changed[name]}
    assert differ and all(name.startswith("acting_critic.") for name in differ)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("resources.num_learners=0", [{"CPU": 2.0, "GPU": 0.5}]),
        ("resources.num_cpus_per_learner=4", [{"CPU": 1.0}, {"CPU": 4.0, "GPU": 0.5}]),
        ("resources.num_gpus_per_learner=1", [{"CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]),
    ],
)
def test_resources_are_what_ray_is_asked_for(point_world: str, override: str, expected: list[dict[str, Any]]) -> None:
    base = ["num_learners=1", "num_cpus_per_learner=2", "num_gpus_per_learner=0.5"]
    config = config_of(point_world, *[f"resources.{text}" for text in base], override)
    bundles = ActionableModels.default_resource_request(config).bundles
    assert [{name: value for name, value in bundle.items() if value} for bundle in bundles] == expected
