"""What every trainable objective offers: a loss on a batch, averaged weights, a policy. Two of them exist."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from am_ray.types import DataSpec, TransitionBatch


@dataclass(frozen=True)
class LossResult:
    """A scalar loss with gradient, and named scalars without."""

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """Actionable Models and behaviour cloning, as the learner sees them."""

    def loss(self, batch: TransitionBatch[Tensor], *, generator: torch.Generator) -> LossResult:
        """The loss of a batch of raw actions and observations; all of it reproducible from ``generator``."""
        ...

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What the optimizer sees; averaged copies are not among it."""
        ...

    def update_averages(self) -> None:
        """Moves the averaged copies; called once after every optimizer step that was taken."""
        ...


class ActionScale(nn.Module):
    """Maps actions of the dataset's box to [-1, 1]^a and back; networks see the unit box only."""

    center: Tensor
    half_range: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        low, high = torch.tensor(spec.action_low), torch.tensor(spec.action_high)
        self.register_buffer("center", (high + low) / 2.0)
        self.register_buffer("half_range", (high - low) / 2.0)

    def to_unit(self, actions: Tensor) -> Tensor:
        return ((actions - self.center) / self.half_range).clamp(-1.0, 1.0)

    def from_unit(self, actions: Tensor) -> Tensor:
        return actions * self.half_range + self.center


def frozen_copy(module: Any) -> Any:
    """A copy whose parameters take no gradient, for averages; nothing of nothing."""
    twin = copy.deepcopy(module)
    if twin is None:
        return None
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin
