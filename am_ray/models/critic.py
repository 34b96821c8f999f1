"""Q(s, a, g) in [0, 1]: the probability of reaching g, as the sigmoid of a logit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from am_ray.arrays import Float
from am_ray.models.encoders import Observation, ObservationGoalEncoder
from am_ray.models.layers import mlp
from am_ray.settings import ModelSettings
from am_ray.types import DataSpec, DataStatistics

# Of float32, what a core's own cache holds: on a CPU the scores of many candidates are a matter of memory, not of products.
_BYTES_AT_ONCE = 1 << 20


class Critic(nn.Module):
    """Encode (s, g) once, score many actions with a small head.

    The head's first layer is split: the part of the features is computed once per (s, g), the part of the action once
    per action, and their sum goes on.
    """

    def __init__(
        self, spec: DataSpec, statistics: DataStatistics, settings: ModelSettings, *, has_task: bool = False
    ) -> None:
        super().__init__()
        self.encoder = ObservationGoalEncoder(spec, statistics, settings, has_task=has_task)
        self.from_features = nn.Linear(settings.width, settings.head_width)
        self.from_action = nn.Linear(spec.action_dim, settings.head_width, bias=False)
        self.hidden = mlp([settings.head_width] * settings.head_depth, layer_norm=False)
        self.logit = nn.Linear(settings.head_width, 1)

    def encode(self, observation: Observation, goal: Observation) -> Float[Tensor, "b f"]:
        """Features of (s, g), to be passed to `score`."""
        return self.project(self.encoder(observation, goal))

    def project(self, encoded: Tensor) -> Float[Tensor, "b f"]:
        """Features for `score` from what the encoder made of (s, g)."""
        return torch.as_tensor(self.from_features(encoded))

    # In place where autograd allows it: the (b, n, f) tensors of many candidates are what an update spends its time on.
    def score(self, features: Float[Tensor, "b f"], actions: Float[Tensor, "b n a"]) -> Float[Tensor, "b n"]:
        """Logit of Q(s, a, g) for each action, in [-1, 1]^a; float32 in every `network_precision`."""
        if actions.device.type != "cpu" or torch.is_grad_enabled():
            return self._score(features, actions)
        rows = max(1, _BYTES_AT_ONCE // max(1, 4 * actions.shape[1] * features.shape[1]))
        pieces = zip(torch.split(features, rows), torch.split(actions, rows), strict=True)
        return torch.cat([self._score(some, theirs) for some, theirs in pieces])

    def _score(self, features: Float[Tensor, "b f"], actions: Float[Tensor, "b n a"]) -> Float[Tensor, "b n"]:
        merged = self.from_action(actions).add_(features.unsqueeze(1)).relu_()
        return torch.as_tensor(self.logit(self.hidden(merged))).squeeze(-1).float()
