"""Layers that encoders and heads are made of."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


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


class Difference(nn.Module):
    """g - s in a third of the data's standard deviations, so that centimetres count, clipped as above."""

    std: Tensor
    picked: Tensor

    def __init__(self, std: Tensor, picked: list[int]) -> None:
        super().__init__()
        self.register_buffer("std", std.float()[picked] / 3.0)
        self.register_buffer("picked", torch.tensor(picked))

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        return ((goal - observation[:, self.picked]) / self.std).clamp(-10.0, 10.0)
