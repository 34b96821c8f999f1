"""A downstream task as a goal: a learned tensor in place of the goal input (paper, Sec. 4, fine-tuning)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from am_ray.types import TASK, DataSpec, DataStatistics

# Images are bytes; the tensor is learnt in the units that the image encoder works in, (x / 255) - 0.5.
_IMAGE_OFFSET, _IMAGE_SCALE = 127.5, 255.0


class TaskGoal(nn.Module):
    """One learned tensor per goal feature, in standardised units, starting at 0 (the data's mean; grey images).

    It lies inside the encoder, so each averaged copy of a network has an averaged tensor of its own.
    """

    def __init__(self, spec: DataSpec, statistics: DataStatistics) -> None:
        super().__init__()
        self.tensor = nn.ParameterDict()
        self.names = list(spec.goal_indices)
        for name, shape in spec.goal_shapes.items():
            self.tensor[name] = nn.Parameter(torch.zeros(shape))
            if len(shape) == 1:
                picked = list(spec.goal_indices[name] or range(shape[0]))
                mean, std = (torch.from_numpy(values[name])[picked] for values in (statistics.mean, statistics.std))
            else:
                mean, std = torch.tensor(_IMAGE_OFFSET), torch.tensor(_IMAGE_SCALE)
            self.register_buffer(f"{name}_mean", mean.float().clone())
            self.register_buffer(f"{name}_std", std.float().clone())

    def forward(self, goal: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The goal features ``(b, ...)``, with the learned tensor in the rows that ``goal[TASK]`` marks."""
        is_task = goal[TASK]
        filled = {}
        for name in self.names:
            given = goal[name]
            own = self.tensor[name] * self.get_buffer(f"{name}_std") + self.get_buffer(f"{name}_mean")
            rows = is_task.reshape(-1, *[1] * (given.dim() - 1))
            filled[name] = torch.where(rows, own, given.to(own.dtype))
        return filled

    @torch.no_grad()
    def start_at(self, goal: Mapping[str, np.ndarray]) -> None:
        """Puts the learned tensor on a goal, in the data's units."""
        for name in self.names:
            value = torch.from_numpy(np.asarray(goal[name], np.float32))
            self.tensor[name].copy_((value - self.get_buffer(f"{name}_mean")) / self.get_buffer(f"{name}_std"))


def with_task(goal: Mapping[str, Tensor], is_task: Tensor) -> dict[str, Tensor]:
    """The goal with the mark that `TaskGoal` looks for, ``(b,)`` bool."""
    return {**goal, TASK: is_task}
