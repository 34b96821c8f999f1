"""What RLlib 2.60 does, where we rely on it or work around it: run these first after an upgrade."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.offline.offline_data import OfflineData

from am_ray.algorithm.algorithm import ActionableModels
from am_ray.algorithm.learner import ObjectiveLearner
from am_ray.algorithm.offline_data import DatasetShards
from am_ray.algorithm.rl_module import ObjectiveModule

from .conftest import build_learner, tiny_config, train
from .test_learner import source_for


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (
            ObjectiveLearner,
            TorchLearner,
            "build configure_optimizers_for_module before_gradient_based_update update _uncompiled_update "
            "compute_loss_for_module shutdown get_state set_state",
        ),
        (
            ActionableModels,
            Algorithm,
            "get_default_config training_step save_to_path restore_from_path from_checkpoint set_state",
        ),
        (ObjectiveModule, TorchRLModule, "setup forward_train _forward_train _forward_inference _forward_exploration"),
        (DatasetShards, OfflineData, "sample"),
    ],
)
def test_everything_that_is_overridden_is_still_there(ours: type, theirs: type, names: str) -> None:
    for name in names.split():
        assert name in vars(ours)
        assert callable(getattr(theirs, name)), name


def test_the_arguments_that_rllib_passes_are_accepted(point_world: str) -> None:
    """LearnerGroup.update calls Learner.update(training_data=, timesteps=, **kwargs) and hands back what it returns."""
    calls: list[dict[str, Any]] = []
    algorithm = tiny_config(point_world, updates_per_iteration=2).build_algo()
    learner = algorithm.learner_group._learner
    update = learner.update
    learner.update = lambda **kwargs: calls.append(kwargs) or update(**kwargs)
    algorithm.train()
    assert {"training_data", "timesteps", "num_iters"} <= set(calls[0])
    assert list(inspect.signature(Learner.before_gradient_based_update).parameters) == ["self", "timesteps"]
    algorithm.stop()


def test_rllibs_set_state_still_keeps_newer_weights(point_world: str) -> None:
    """When this fails, resetting ``_weights_seq_no`` in ours may go."""
    learner, source = build_learner(point_world), source_for(point_world)
    train(learner, source, 1)
    old = learner.get_state()
    train(learner, source, 1)
    newer = learner.training_state().weights
    TorchLearner.set_state(learner, old)
    assert all(newer[name].tobytes() == value.tobytes() for name, value in learner.training_state().weights.items())


def test_rllibs_optimizer_state_still_brings_its_old_learning_rate(point_world: str) -> None:
    """When this fails, ``before_gradient_based_update`` may go."""
    fast, slow = build_learner(point_world, lr=0.5), build_learner(point_world, lr=0.1)
    train(fast, source_for(point_world), 1)
    TorchLearner.set_state(slow, fast.get_state())
    TorchLearner.before_gradient_based_update(slow, timesteps={})
    assert slow._optimizer.param_groups[0]["lr"] == 0.5


def test_ddp_hooks_the_forward_pass_that_carries_the_gradients(point_world: str) -> None:
    """The wrapper's forward_train goes through ``forward``, and that is our loss; averaged copies take no part."""
    learner = build_learner(point_world)
    module = learner.module[DEFAULT_MODULE_ID]
    seen: list[Any] = []
    module._forward_train = lambda batch, **kwargs: seen.append(batch) or {}
    module({"batch": 1})
    assert seen == [{"batch": 1}]
    trained = {id(p) for p in learner._parameters}
    assert trained == {id(p) for p in module.parameters() if p.requires_grad}
    assert not any(p.requires_grad for p in module.objective.target_critic.parameters())


_PLACEMENT_SCRIPT = """
import sys, ray
ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, object_store_memory=100 * 1024**2, log_to_driver=False)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from am_ray.algorithm.algorithm import ActionableModels
from tests.algorithm.conftest import tiny_config
config = tiny_config(sys.argv[1]).learners(num_learners=2, num_cpus_per_learner=1, num_gpus_per_learner=1)
group = ActionableModels.default_resource_request(config).to_placement_group()
ray.get(group.ready(), timeout=60)

@ray.remote(num_cpus=1, num_gpus=1)
def gpus():
    return ray.get_gpu_ids()

places = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in (1, 2)]
print("GPUS", sorted(ray.get([gpus.options(scheduling_strategy=place).remote() for place in places])))
print("LEFT", ray.available_resources().get("GPU", 0.0))
"""


@pytest.mark.slow
def test_each_learner_is_placed_on_a_gpu_of_its_own(point_world: str) -> None:
    """Placement only, with GPUs that Ray was told of; nothing runs on them."""
    result = subprocess.run(
        [sys.executable, "-c", _PLACEMENT_SCRIPT, point_world],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": "0,1"},
        timeout=110,
    )
    assert "GPUS [['0'], ['1']]" in result.stdout, result.stderr[-2000:]
    assert "LEFT 0.0" in result.stdout
