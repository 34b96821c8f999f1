"""Encoders of (s, g), shared by the critic, the proposal and behaviour cloning.

The pair is encoded once; heads then score many actions against it. That is what makes targets, negatives and
acting affordable, and what QT-Opt's network does (image trunk first, actions merged in).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from am_ray.models.entities import EntityPooling
from am_ray.models.layers import Difference, Standardize, mlp
from am_ray.models.task_goal import TaskGoal
from am_ray.settings import ModelSettings
from am_ray.types import DataSpec, DataStatistics, SettingsError

Observation = Mapping[str, Tensor]


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), 3 x 3 (IMPALA)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.as_tensor(self.branch(x))


class ImageEncoder(nn.Module):
    """uint8 images ``(b, h, w, c)`` to features ``(b, width)``; bytes become floats only here, on the device.

    With ``difference`` the channels are those of an image and of a goal image, and the second minus the first join them.
    A stage halves the resolution; then come ``blocks`` residual blocks, or, with none, one more convolution.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        *,
        stages: tuple[int, ...],
        features: int,
        blocks: int = 0,
        difference: bool = False,
    ) -> None:
        super().__init__()
        self.difference = difference
        channels += channels // 2 if difference else 0
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise((channels, *stages)):
            layers.append(nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1))
            if blocks:
                layers += [ResidualBlock(fan_out) for _ in range(blocks)]
            else:
                layers += [nn.ReLU(inplace=True), nn.Conv2d(fan_out, fan_out, 3, padding=1)]
            layers.append(nn.ReLU(inplace=True))
        self.convolutions = nn.Sequential(*layers)
        for _ in stages:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.project = nn.Sequential(
            nn.Linear(stages[-1] * height * width, features), nn.LayerNorm(features), nn.ReLU(inplace=True)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float().div_(255.0).sub_(0.5)
        if self.difference:
            observation, goal = x.chunk(2, dim=1)
            x = torch.cat([x, goal - observation], dim=1)
        return torch.as_tensor(self.project(self.convolutions(x).flatten(1)))


class ObservationGoalEncoder(nn.Module):
    """(s, g) to features ``(b, width)``.

    One-dimensional features are standardised and concatenated, with g - s and with their slots pooled if that is asked
    for. The image of a camera that is part of the goal is concatenated with the goal image on the channels ("QT-Opt
    framework with an additional goal image input"), and with g - s likewise.
    With ``has_task`` a learned tensor stands in for the goal of the rows that the goal's `TASK` entry marks.
    """

    def __init__(
        self, spec: DataSpec, statistics: DataStatistics, settings: ModelSettings, *, has_task: bool = False
    ) -> None:
        super().__init__()
        affine, slots = settings.task_goal == "affine", settings.entity_slots
        self.task = TaskGoal(spec, statistics, affine=affine, slots=slots) if has_task else None
        self.vector_names = [n for n, shape in spec.observation_shapes.items() if len(shape) == 1]
        self.image_names = [n for n, shape in spec.observation_shapes.items() if len(shape) == 3]
        self.goal_names = list(spec.goal_indices)
        self.observation_scale = nn.ModuleDict()
        self.goal_scale = nn.ModuleDict()
        self.difference = nn.ModuleDict()
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
                if settings.goal_difference:
                    self.difference[name] = Difference(std, picked)
                    size += len(picked)
        self.entities = self._entity_pooling(spec, settings)
        if self.entities is not None:
            size = self.entities.size
        for name in self.image_names:
            height, width, channels = spec.observation_shapes[name]
            in_goal = name in spec.goal_indices
            self.images[name] = ImageEncoder(
                height,
                width,
                channels * 2 if in_goal else channels,
                stages=settings.image_channels,
                features=settings.width,
                blocks=settings.image_blocks,
                difference=in_goal and settings.goal_difference,
            )
            size += settings.width
        self.trunk = mlp([size, *[settings.width] * settings.depth], layer_norm=settings.layer_norm)

    def _entity_pooling(self, spec: DataSpec, settings: ModelSettings) -> EntityPooling | None:
        if not settings.entity_slots:
            return None
        if len(self.vector_names) != 1 or spec.goal_indices.get(self.vector_names[0], ()) is not None:
            raise SettingsError(
                f"model.entity_slots: got {list(settings.entity_slots)} for the vectors {self.vector_names}, of which "
                f"{sorted(spec.goal_indices)} make the goal; expected one vector, all of it part of the goal. Leave it out."
            )
        (dim,) = spec.observation_shapes[self.vector_names[0]]
        views = 3 if settings.goal_difference else 2
        width, layer_norm = settings.entity_width, settings.layer_norm
        return EntityPooling(dim, views, settings.entity_slots, width=width, layer_norm=layer_norm)

    def forward(self, observation: Observation, goal: Observation) -> Tensor:
        if self.task is not None:
            goal = self.task(observation, goal)
        parts = []
        for name in self.vector_names:
            parts.append(self.observation_scale[name](observation[name]))
            if name in goal:
                parts.append(self.goal_scale[name](goal[name]))
                if name in self.difference:
                    parts.append(self.difference[name](observation[name], goal[name]))
        if self.entities is not None:
            parts = [self.entities(torch.stack(parts, dim=2))]
        for name in self.image_names:
            image = torch.cat([observation[name], goal[name]], dim=3) if name in goal else observation[name]
            parts.append(self.images[name](image))
        return torch.as_tensor(self.trunk(torch.cat(parts, dim=1)))
