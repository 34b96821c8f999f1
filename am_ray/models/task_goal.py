"""A downstream task as a goal: a learned tensor in place of the goal input (paper, Sec. 4, fine-tuning).

Ours, beside it: a learned *affine map* of the state. One goal state cannot say "the box lifted, wherever it lies": the
critic goes where the hand is in that state. A map says where the box lifted would be from here, and the pre-trained critic
knows how to get there. Directions in it (a hand's yaw) may turn along others, up to a symmetry: `am_ray.core.turns`. Measured in
docs/experiments_log.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from am_ray.core.sparse_map import sparse_change
from am_ray.core.turns import Turn, find_turns, possible_sources
from am_ray.types import TASK, DataSpec, DataStatistics, TaskExamples

# Images are bytes; the tensor is learnt in the units that the image encoder works in, (x / 255) - 0.5.
_IMAGE_OFFSET, _IMAGE_SCALE = 127.5, 255.0
_CLIP = 10.0  # of standardised states, as in the encoder


class TaskGoal(nn.Module):
    """A learned goal, in standardised units: ``tensor`` (+ ``weight`` @ state, for one-dimensional features if affine), around the data's mean.

    It starts at 0: the mean, grey images. In the entries of a pair that turns (`am_ray.core.turns`) it is around the direction that this gives, in
    the data's units. It lies inside the encoder, so each averaged copy of a network has an averaged goal of its own.

    Args:
        spec: Of the data.
        statistics: Of the data.
        affine: Whether it has a ``weight``.
        slots: Where the state lists things (`am_ray.models.entities`), or nothing: what may turn along what.
    """

    def __init__(
        self, spec: DataSpec, statistics: DataStatistics, *, affine: bool = False, slots: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        self.slots = slots
        self.tensor, self.weight = nn.ParameterDict(), nn.ParameterDict()
        self.names, self.picked = list(spec.goal_indices), dict(spec.goal_indices)
        self.inputs = [name for name, shape in spec.observation_shapes.items() if len(shape) == 1]
        size = sum(spec.observation_shapes[name][0] for name in self.inputs)
        for name in self.inputs:
            self.register_buffer(f"{name}_input_mean", torch.from_numpy(statistics.mean[name]).float().clone())
            self.register_buffer(f"{name}_input_std", torch.from_numpy(statistics.std[name]).float().clone())
        for name, shape in spec.goal_shapes.items():
            self.tensor[name] = nn.Parameter(torch.zeros(shape))
            if len(shape) == 1:
                picked = list(spec.goal_indices[name] or range(shape[0]))
                mean, std = (torch.from_numpy(values[name])[picked] for values in (statistics.mean, statistics.std))
                if affine:
                    self.weight[name] = nn.Parameter(torch.zeros(shape[0], size))
                    self._register_turns(name, shape[0])
            else:
                mean, std = torch.tensor(_IMAGE_OFFSET), torch.tensor(_IMAGE_SCALE)
            self.register_buffer(f"{name}_mean", mean.float().clone())
            self.register_buffer(f"{name}_std", std.float().clone())

    def forward(self, observation: Mapping[str, Tensor], goal: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The goal features ``(b, ...)``, with the learned goal in the rows that ``goal[TASK]`` marks."""
        is_task = goal[TASK]
        state = self._state(observation) if self.weight else None
        filled = {}
        for name in self.names:
            own, mean = self.tensor[name], self.get_buffer(f"{name}_mean")
            if state is not None and name in self.weight:
                own = own + state @ self.weight[name].T
                mean = self._turned(name, mean, observation)
            own = own * self.get_buffer(f"{name}_std") + mean
            rows = is_task.reshape(-1, *[1] * (goal[name].dim() - 1))
            filled[name] = torch.where(rows, own, goal[name].to(own.dtype))
        return filled

    @torch.no_grad()
    def start_at(self, goal: Mapping[str, np.ndarray], examples: TaskExamples | None, *, weight_cost: float) -> None:
        """Puts the learned goal on given values.

        Args:
            goal: In the data's units.
            examples: States and the goals that they led to; an affine map and turns are fitted to them, and where they say little, the goal
                is the state as it is.
            weight_cost: Of that fit; see `am_ray.core.sparse_map`.
        """
        for name in self.names:
            mean, std = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_std")
            if name in self.weight and examples is not None:
                state = self._state({n: torch.from_numpy(examples.observations[n]) for n in self.inputs})
                wanted = (torch.from_numpy(examples.goals[name]) - mean) / std
                input_mean, input_std = (
                    np.concatenate([self.get_buffer(f"{n}_input_{of}") for n in self.inputs]) for of in ("mean", "std")
                )
                own = self._own(name)
                found = sparse_change(state.numpy(), wanted.numpy(), own, input_mean, input_std, cost=weight_cost)
                self.tensor[name].copy_(torch.from_numpy(found.offset))
                self.weight[name].copy_(torch.from_numpy(found.weight))
                units = np.concatenate([examples.observations[n] for n in self.inputs], axis=1)
                slopes = found.weight * input_std[own][:, None] / input_std
                allowed = possible_sources(self._things(len(input_std)), own, slopes) if self.slots else None
                self._set_turns(name, find_turns(units, examples.goals[name], own, allowed))
            else:
                self.tensor[name].copy_((torch.from_numpy(np.asarray(goal[name], np.float32)) - mean) / std)

    def _own(self, name: str) -> np.ndarray:
        """The entry of `_state` that each entry of the goal feature is, ``(g,)``."""
        first = sum(len(self.get_buffer(f"{n}_input_mean")) for n in self.inputs[: self.inputs.index(name)])
        return first + np.array(self.picked[name] or range(self.weight[name].shape[0]))

    def _things(self, size: int) -> np.ndarray:
        """Which thing each entry of `_state` is of, ``(size,)``; 0: of none that the slots list."""
        first, entries = self.slots
        return np.maximum((np.arange(size) - first) // entries + 1, 0)

    def _register_turns(self, name: str, size: int) -> None:
        """None yet. Of each entry of the goal feature that is the first of a pair which turns: what `Turn` says; others have no source."""
        self.register_buffer(f"{name}_own", torch.from_numpy(self._own(name)), persistent=False)
        self.register_buffer(f"{name}_turn_source", torch.full((size,), -1))
        self.register_buffer(f"{name}_turn_sense", torch.ones(size))
        self.register_buffer(f"{name}_turn_step", torch.full((size,), 2.0 * math.pi))
        self.register_buffer(f"{name}_turn_offset", torch.zeros(size))

    def _set_turns(self, name: str, turns: Sequence[Turn]) -> None:
        """In place of what else was fitted to these entries."""
        source = self.get_buffer(f"{name}_turn_source").fill_(-1)
        for turn in turns:
            source[turn.entry] = turn.source
            self.get_buffer(f"{name}_turn_sense")[turn.entry] = -1.0 if turn.mirrored else 1.0
            self.get_buffer(f"{name}_turn_step")[turn.entry] = 2.0 * math.pi / turn.fold
            self.get_buffer(f"{name}_turn_offset")[turn.entry] = turn.offset_rad
            for values in (self.tensor[name], self.weight[name]):
                values[turn.entry : turn.entry + 2] = 0.0

    def _turned(self, name: str, mean: Tensor, observation: Mapping[str, Tensor]) -> Tensor:
        """The mean ``(g,)``, or, if pairs turn, ``(b, g)`` with the direction that they turn to in their entries."""
        source = self.get_buffer(f"{name}_turn_source")
        entry = (source >= 0).nonzero().squeeze(1)
        if not len(entry):
            return mean
        state = torch.cat([observation[n] for n in self.inputs], dim=-1)
        sense, offset, step = (self.get_buffer(f"{name}_turn_{of}")[entry] for of in ("sense", "offset", "step"))
        angle = sense * _angle(state, source[entry]) + offset
        angle = angle + step * torch.round((_angle(state, self.get_buffer(f"{name}_own")[entry]) - angle) / step)
        goal = mean.expand(len(state), -1).clone()
        goal[:, entry], goal[:, entry + 1] = angle.cos(), angle.sin()
        return goal

    def _state(self, observation: Mapping[str, Tensor]) -> Tensor:
        parts = [
            ((observation[n] - self.get_buffer(f"{n}_input_mean")) / self.get_buffer(f"{n}_input_std"))
            for n in self.inputs
        ]
        return torch.cat(parts, dim=-1).clamp(-_CLIP, _CLIP)


def _angle(state: Tensor, first: Tensor) -> Tensor:
    """Of the pairs of entries (cos, sin) that begin at these, ``(b, m)``."""
    return torch.atan2(state[:, first + 1], state[:, first])


def start_task_at(
    model: nn.Module, goal: Mapping[str, np.ndarray], examples: TaskExamples | None = None, *, weight_cost: float
) -> None:
    """Puts every learned goal of a network, averaged ones included, on given values; see `TaskGoal.start_at`."""
    first, *others = (module for module in model.modules() if isinstance(module, TaskGoal))
    first.start_at(goal, examples, weight_cost=weight_cost)
    for other in others:
        other.load_state_dict(first.state_dict())


def with_task(goal: Mapping[str, Tensor], is_task: Tensor) -> dict[str, Tensor]:
    """The goal with the mark that `TaskGoal` looks for, ``(b,)`` bool."""
    return {**goal, TASK: is_task}
