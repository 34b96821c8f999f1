"""Encoders of (s, g), shared by the critic, the proposal and behaviour cloning.

The pair is encoded once; heads then score many actions against it. That is what makes targets, negatives and
acting affordable, and what QT-Opt's network does (image trunk first, actions merged in).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from am_ray.models.task_goal import TaskGoal
from am_ray.settings import ModelSettings
from am_ray.types import DataSpec, DataStatistics

Observation = Mapping[str, Tensor]


def mlp(sizes: list[int], *, layer_norm: bool) -> nn.Sequential:
    """Linear, (LayerNorm,) ReLU for each pair of neighbouring sizes; the activation also follows the last one."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers.append(nn.Linear(fan_in, fan_out))
        if layer_norm:
            layers.append(nn.LayerNorm(fan_out))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Standardize(nn.Module):
    """(x - mean) / std with the dataset's statistics, clipped to +-10 so that one outlier cannot saturate the trunk."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float().clone())
        self.register_buffer("std", std.float().clone())

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).clamp(-10.0, 10.0)


class ImageEncoder(nn.Module):
    """uint8 images ``(b, h, w, c)`` to features ``(b, width)``; bytes become floats only here, on the device."""

    def __init__(self, height: int, width: int, channels: int, *, stages: tuple[int, ...], features: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((channels, *stages)):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(fan_out, fan_out, 3, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        for _ in stages:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.project = nn.Sequential(
            nn.Linear(stages[-1] * height * width, features), nn.LayerNorm(features), nn.ReLU(inplace=True)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float().div_(255.0).sub_(0.5)
        return torch.as_tensor(self.project(self.convolutions(x).flatten(1)))


class ObservationGoalEncoder(nn.Module):
    """(s, g) to features ``(b, width)``.

    One-dimensional features are standardised and concatenated. The image of a camera that is part of the goal is
    concatenated with the goal image on the channels ("QT-Opt framework with an additional goal image input").
    With ``has_task`` a learned tensor stands in for the goal of the rows that the goal's `TASK` entry marks.
    """

    def __init__(
        self, spec: DataSpec, statistics: DataStatistics, settings: ModelSettings, *, has_task: bool = False
    ) -> None:
        super().__init__()
        self.task = TaskGoal(spec, statistics, affine=settings.task_goal == "affine") if has_task else None
        self.vector_names = [n for n, shape in spec.observation_shapes.items() if len(shape) == 1]
        self.image_names = [n for n, shape in spec.observation_shapes.items() if len(shape) == 3]
        self.goal_names = list(spec.goal_indices)
        self.observation_scale = nn.ModuleDict()
        self.goal_scale = nn.ModuleDict()
        self.images = nn.ModuleDict()
        size = 0
        for name in self.vector_names:
            mean, std = torch.from_numpy(statistics.mean[name]), torch.from_numpy(statistics.std[name])
            self.observation_scale[name] = Standardize(mean, std)
            size += len(mean)
            if name in spec.goal_indices:
                picked = list(spec.goal_indices[name] or range(len(mean)))
                self.goal_scale[name] = Standardize(mean[picked], std[picked])
                size += len(picked)
        for name in self.image_names:
            height, width, channels = spec.observation_shapes[name]
            channels *= 2 if name in spec.goal_indices else 1
            stages = settings.image_channels
            self.images[name] = ImageEncoder(height, width, channels, stages=stages, features=settings.width)
            size += settings.width
        self.trunk = mlp([size, *[settings.width] * settings.depth], layer_norm=settings.layer_norm)

    def forward(self, observation: Observation, goal: Observation) -> Tensor:
        if self.task is not None:
            goal = self.task(observation, goal)
        parts = []
        for name in self.vector_names:
            parts.append(self.observation_scale[name](observation[name]))
            if name in goal:
                parts.append(self.goal_scale[name](goal[name]))
        for name in self.image_names:
            image = torch.cat([observation[name], goal[name]], dim=3) if name in goal else observation[name]
            parts.append(self.images[name](image))
        return torch.as_tensor(self.trunk(torch.cat(parts, dim=1)))


@torch.no_grad()
def random_shift(images: Observation, offset: Tensor, *, max_shift: int) -> dict[str, Tensor]:
    """Shifts each image by its row of ``offset``, repeating border pixels (DrQ); other features pass through.

    Args:
        images: Features; those of shape ``(b, h, w, c)`` are shifted.
        offset: ``(b, 2)`` integers in 0 .. 2 * max_shift; ``max_shift`` is no shift.
        max_shift: Pixels of padding on each side.
    """
    shifted = dict(images)
    for name, x in images.items():
        if x.dim() != 4:
            continue
        batch, height, width, channels = x.shape
        padded = _with_border(_with_border(x, 1, max_shift), 2, max_shift)
        # A shifted row is a run of bytes of the padded images: one gather of whole rows, bytes stay bytes.
        line = torch.arange(batch, device=x.device).unsqueeze(1) * padded.shape[1] + offset[:, :1]
        line = line + torch.arange(height, device=x.device)
        start = (line * padded.shape[2] + offset[:, 1:]) * channels
        runs = padded.flatten().unfold(0, width * channels, 1)
        shifted[name] = runs.index_select(0, start.flatten()).view(x.shape)
    return shifted


def _with_border(x: Tensor, dim: int, size: int) -> Tensor:
    """``x`` with its first and last slice along ``dim`` repeated ``size`` times."""
    repeats = [size if d == dim else -1 for d in range(x.dim())]
    first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
    return torch.cat([first.expand(repeats), x, last.expand(repeats)], dim)
