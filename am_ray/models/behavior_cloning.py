"""Goal-conditioned behaviour cloning (GCBC): the baseline, on the same encoders, data path and averaging."""

from __future__ import annotations

from dataclasses import replace
from typing import cast, get_args

import torch
from torch import Tensor, nn

from am_ray.core.behavior_cloning import cloning_loss
from am_ray.core.ema import polyak_update
from am_ray.core.targets import leads_to_goal
from am_ray.models.action_density import ActionDensityNetwork
from am_ray.models.augmentation import Augmentation
from am_ray.models.encoders import Observation
from am_ray.models.objective import ActionScale, LossResult, frozen_copy
from am_ray.settings import Acting, AlgorithmSettings, CloningAct
from am_ray.types import DataSpec, DataStatistics, SettingsError, TransitionBatch


class BehaviorCloning(nn.Module):
    """-log p(a | s, g) of the data's action under hindsight goals; acts with averaged weights, as ``cloning.act`` says."""

    def __init__(self, spec: DataSpec, statistics: DataStatistics, settings: AlgorithmSettings) -> None:
        super().__init__()
        self.settings = settings
        self.spec = spec
        self.action_scale = ActionScale(spec)
        self._augmentation = Augmentation(spec, settings)
        self.network = ActionDensityNetwork(spec, statistics, settings.model, settings.cloning)
        self.acting_network: ActionDensityNetwork = frozen_copy(self.network)
        self.acting: CloningAct = settings.cloning.act

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]

    def update_averages(self) -> None:
        averaged, online = list(self.acting_network.parameters()), list(self.network.parameters())
        polyak_update(averaged, online, rate=self.settings.optimization.acting_average_rate)

    def loss(self, batch: TransitionBatch[Tensor], *, generator: torch.Generator) -> LossResult:
        """See `am_ray.core.behavior_cloning.cloning_loss`."""
        batch = self._augmentation(batch, generator)
        action = self.action_scale.to_unit(batch.action)
        led = leads_to_goal(batch.source).float()
        loss = cloning_loss(self.network(batch.observation, batch.goal), *self.network.split(action), led)
        return LossResult(loss, {"cloning/loss": loss.detach()})

    def act_by(self, acting: Acting | CloningAct) -> None:
        """Acts in another way than ``cloning.act`` says, with the same weights.

        Raises:
            SettingsError: There is no such way, or it takes two-valued entries, of which there are none.
        """
        if acting not in get_args(CloningAct):
            raise SettingsError(
                f"acting: got {acting} for a policy of method behavior_cloning; expected one of {', '.join(get_args(CloningAct))}. Correct it."
            )
        self.acting = replace(self.settings.cloning, act=cast("CloningAct", acting)).act

    @torch.no_grad()
    def best_action(self, observation: Observation, goal: Observation, *, generator: torch.Generator) -> Tensor:
        """What ``cloning.act`` says of p(a | s, g) under averaged weights, in [-1, 1]^a, ``(b, a)``."""
        density = self.acting_network(observation, goal)
        if self.acting == "drawn":
            return self.acting_network.join(*density.expected_and_drawn(generator=generator))
        return self.acting_network.join(*(density.mode() if self.acting == "mode" else density.expected()))
