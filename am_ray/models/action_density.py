"""The head that turns encoded (s, g) into p(a | s, g): behaviour cloning's output, the learned proposal, an auxiliary loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from am_ray.core.behavior_cloning import ActionDensity
from am_ray.models.encoders import Observation, ObservationGoalEncoder
from am_ray.models.layers import mlp
from am_ray.settings import CloningSettings, ModelSettings
from am_ray.types import DataSpec, DataStatistics, SettingsError


class ActionDensityHead(nn.Module):
    """Encoded (s, g), ``(b, width)``, to p(a | s, g).

    Raises:
        SettingsError: ``cloning.binary_entries`` names an entry that actions do not have, or one twice.
    """

    binary: Tensor
    continuous: Tensor

    def __init__(self, spec: DataSpec, model: ModelSettings, cloning: CloningSettings) -> None:
        super().__init__()
        binary = sorted(i % spec.action_dim for i in cloning.binary_entries)
        outside = any(not -spec.action_dim <= i < spec.action_dim for i in cloning.binary_entries)
        if outside or len(set(binary)) < len(binary):
            raise SettingsError(
                f"cloning.binary_entries: got {list(cloning.binary_entries)} for actions of {spec.action_dim} entries; expected each of "
                f"{-spec.action_dim} .. {spec.action_dim - 1} at most once. Correct the list."
            )
        continuous = [i for i in range(spec.action_dim) if i not in binary]
        # On the device: an index that has to be sent there cannot be part of a CUDA graph.
        self.register_buffer("binary", torch.tensor(binary, dtype=torch.long), persistent=False)
        self.register_buffer("continuous", torch.tensor(continuous, dtype=torch.long), persistent=False)
        self.num_components = cloning.num_components
        self.min_std = cloning.min_std
        self.hidden = mlp([model.width, *[model.head_width] * model.head_depth], layer_norm=model.layer_norm)
        outputs = self.num_components * (1 + 2 * len(self.continuous)) + len(self.binary)
        self.out = nn.Linear(model.head_width, outputs)

    def density(self, features: Tensor) -> ActionDensity:
        out = self.out(self.hidden(features)).float()
        components, continuous = self.num_components, len(self.continuous)
        sizes = [components, components * continuous, components * continuous, len(self.binary)]
        mixture_logits, mean, std, binary_logits = out.split(sizes, dim=1)
        shape = (len(out), components, continuous)
        return ActionDensity(
            mixture_logits=mixture_logits,
            mean=torch.tanh(mean.reshape(shape)),
            std=softplus(std.reshape(shape)) + self.min_std,
            binary_logits=binary_logits,
        )

    def split(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The continuous and the two-valued entries of actions (..., a)."""
        return actions[..., self.continuous], actions[..., self.binary]

    def join(self, continuous: Tensor, binary: Tensor) -> Tensor:
        """The inverse of `split`."""
        actions = continuous.new_empty(*continuous.shape[:-1], len(self.continuous) + len(self.binary))
        actions[..., self.continuous] = continuous
        actions[..., self.binary] = binary
        return actions


class ActionDensityNetwork(ActionDensityHead):
    """p(a | s, g) with its own encoder of the same kind as the critic's."""

    def __init__(
        self,
        spec: DataSpec,
        statistics: DataStatistics,
        model: ModelSettings,
        cloning: CloningSettings,
        *,
        has_task: bool = False,
    ) -> None:
        super().__init__(spec, model, cloning)
        self.encoder = ObservationGoalEncoder(spec, statistics, model, has_task=has_task)

    def forward(self, observation: Observation, goal: Observation) -> ActionDensity:
        return self.density(self.encoder(observation, goal))
