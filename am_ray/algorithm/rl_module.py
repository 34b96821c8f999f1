"""The network as an RLModule. Everything that carries a gradient runs inside its forward pass, for DDP hooks only that."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from am_ray.models.policy import GoalConditionedPolicy, build_model
from am_ray.types import TransitionBatch

TRANSITIONS = "transitions"
GENERATOR = "generator"
LOSS = "loss"
METRICS = "metrics"


class ObjectiveModule(TorchRLModule):
    """Wraps `am_ray.models.build_model`.

    ``model_config`` holds ``spec``, ``statistics``, ``settings`` and ``seed``; no catalog. Initial weights depend on
    the seed alone.
    """

    # RLlib annotates this as optional; RLModuleSpec always sets it here.
    model_config: Any

    def setup(self) -> None:
        config = self.model_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            self.objective = build_model(config["spec"], config["statistics"], config["settings"])

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The loss of one batch of transitions, NaN (in every gradient too) if anything in the batch is not finite."""
        transitions: TransitionBatch[Tensor] = batch[TRANSITIONS]
        result = self.objective.loss(transitions, generator=batch[GENERATOR])
        return {LOSS: result.loss * _one_if_finite(transitions, result.loss), METRICS: result.metrics}

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The greedy action for Dict observations with ``observation`` and ``desired_goal``."""
        observation = batch[Columns.OBS]
        if not hasattr(self, "_policy"):
            self._policy = [GoalConditionedPolicy(self.objective, seed=self.model_config["seed"])]
        # In a list, so that torch does not register the same network a second time.
        action = self._policy[0].act(_to_numpy(observation["observation"]), _to_numpy(observation["desired_goal"]))
        return {Columns.ACTIONS: torch.from_numpy(action)}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward_inference(batch, **kwargs)


def _one_if_finite(batch: TransitionBatch[Tensor], loss: Tensor) -> Tensor:
    """1, or NaN if the loss or any float of the batch is NaN or infinite.

    As a factor it turns every gradient into NaN, also those of other learners once gradients are averaged, so that
    one check of the gradient norm makes all learners skip. (Encoders clip their inputs, so an infinity in the batch
    could otherwise pass unseen.)
    """
    features = (batch.observation, batch.next_observation, batch.goal)
    floats = [value for group in features for value in group.values() if value.is_floating_point()]
    with torch.no_grad():
        total = loss.detach() * 0.0
        for value in (*floats, batch.action, batch.next_action):
            total = total + (value.sum() * 0.0)
        return total + 1.0


def _to_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item.cpu().numpy() for name, item in value.items()}
    return value.cpu().numpy()
