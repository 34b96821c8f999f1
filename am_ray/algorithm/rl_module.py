"""The network as an RLModule. Everything that carries a gradient runs inside its forward pass, for DDP hooks only that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor

from am_ray.models.policy import GoalConditionedPolicy, build_model
from am_ray.models.precision import network_precision
from am_ray.types import TransitionBatch

TRANSITIONS = "transitions"
GENERATOR = "generator"
LOSS = "loss"
METRICS = "metrics"


class ObjectiveModule(TorchRLModule):
    """Wraps `am_ray.models.build_model`.

    ``model_config`` holds ``spec``, ``statistics``, ``settings`` and ``seed``; no catalog. Initial weights depend on
    the seed alone, unless ``start`` gives them.
    """

    # RLlib annotates this as optional; RLModuleSpec always sets it here.
    model_config: Any

    def setup(self) -> None:
        config = self.model_config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            self.objective = build_model(config["spec"], config["statistics"], config["settings"])
        start = config.get("start")
        if start is not None:
            start.apply(self.objective)

    def forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Without RLlib's `train()` at every call: the module is in that mode, and walking it costs 0.14 ms."""
        return self._forward_train(batch, **kwargs)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The loss of one batch of transitions, NaN (in every gradient too) if anything in the batch is not finite.

        The network itself sees a finite batch: draws from NaN probabilities would raise on one learner while the others
        wait for its gradients.
        """
        transitions, is_finite = _finite(batch[TRANSITIONS])
        with network_precision(self.objective.settings.optimization.precision, transitions.action.device):
            result = self.objective.loss(transitions, generator=batch[GENERATOR])
        # A factor of 1, or of NaN. Gradients are averaged over learners, so one check of their norm makes all skip.
        # (Encoders clip their inputs: without it an infinity in the batch could pass unseen.)
        factor = is_finite + result.loss.detach() * 0.0
        return {LOSS: result.loss * factor, METRICS: result.metrics}

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


@torch.no_grad()
def _finite(batch: TransitionBatch[Tensor]) -> tuple[TransitionBatch[Tensor], Tensor]:
    """The batch with zeros for what is not finite, and a scalar: 1, or NaN if there was any. No device sync."""
    total = batch.action.new_ones(())

    def clean(value: Tensor) -> Tensor:
        nonlocal total
        if not value.is_floating_point():
            return value
        total = total + value.sum() * 0.0
        return value.nan_to_num(0.0, 0.0, 0.0)

    cleaned = replace(
        batch,
        observation={name: clean(value) for name, value in batch.observation.items()},
        next_observation={name: clean(value) for name, value in batch.next_observation.items()},
        goal={name: clean(value) for name, value in batch.goal.items()},
        action=clean(batch.action),
        next_action=clean(batch.next_action),
    )
    return cleaned, total


def _to_numpy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item.cpu().numpy() for name, item in value.items()}
    return value.cpu().numpy()
