"""What the networks are shown of a batch: images shifted and in a mirror, transitions that stay at their goal, goals a little off."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from am_ray.core.targets import is_of_task
from am_ray.models.encoders import Observation
from am_ray.settings import AlgorithmSettings
from am_ray.types import STATE, DataSpec, GoalSource, SettingsError, TransitionBatch


class Augmentation:
    """Draws a shift and a mirror for each transition, the same for s, s' and g, so that what moved between them still did.

    Then some transitions make room for one that stays where it was to come, and last comes the noise of the goals.

    Args:
        spec: Of the data; without images nothing is shifted or mirrored.
        settings: ``model``'s ``image_shift``, ``mirror_action`` and ``mirror_state``; ``relabel``'s ``stay_share``, ``stay_entries``,
            ``goal_jitter`` and ``goal_jitter_entries``.

    Raises:
        SettingsError: A list names an entry that there is not, or one that a mirror cannot turn or no action of the data's bounds has at 0.
    """

    def __init__(self, spec: DataSpec, settings: AlgorithmSettings) -> None:
        model, relabel = settings.model, settings.relabel
        self._spec = spec
        self._has_images = any(len(shape) == 3 for shape in spec.observation_shapes.values())
        self._shift = model.image_shift
        self._mirror_action, self._mirror_state = list(model.mirror_action), list(model.mirror_state)
        self._stay_share, self._stay_entries = relabel.stay_share, relabel.stay_entries
        self._goal_jitter, self._jitter_entries = relabel.goal_jitter, relabel.goal_jitter_entries
        self._refuse_what_a_mirror_cannot_turn(spec)
        _refuse_entries("stay_entries", self._stay_entries, spec.action_dim, "an action")
        _refuse_entries(
            "goal_jitter_entries", self._jitter_entries, spec.goal_shapes.get(STATE, (0,))[0], "a goal's state"
        )
        for entry in self._stay_entries:
            if not spec.action_low[entry] <= 0.0 <= spec.action_high[entry]:
                raise SettingsError(
                    f"relabel.stay_entries: got entry {entry} of actions in {list(spec.action_low)} .. {list(spec.action_high)}; expected "
                    f"entries that can be 0, which is to stay. Correct the list, or set relabel.stay_share: 0 and leave it empty."
                )

    def _refuse_what_a_mirror_cannot_turn(self, spec: DataSpec) -> None:
        if self._mirror_action and not self._has_images:
            raise SettingsError(
                f"model.mirror_action: got {self._mirror_action} for data without images; expected data with a camera. Leave it empty."
            )
        for name in ("mirror_action", "mirror_state"):
            entries = self._mirror_action if name == "mirror_action" else self._mirror_state
            if len(set(entries)) < len(entries):
                raise SettingsError(f"model.{name}: got {entries}; expected each entry once. Correct the list.")
        if self._mirror_state and spec.goal_indices.get(STATE) is not None:
            raise SettingsError(
                f"model.mirror_state: got {self._mirror_state} for goals of the state's entries {spec.goal_indices[STATE]}; "
                f"expected goals of the whole state, or of images alone. Leave both lists empty."
            )
        for entry in self._mirror_action:
            if not 0 <= entry < spec.action_dim or spec.action_low[entry] != -spec.action_high[entry]:
                raise SettingsError(
                    f"model.mirror_action: got entry {entry} of actions in {list(spec.action_low)} .. "
                    f"{list(spec.action_high)}; expected entries with symmetric bounds, whose sign a mirror turns. "
                    f"Correct the list, or leave it empty."
                )
        size = spec.observation_shapes.get(STATE, (0,))[0]
        if self._mirror_state and not (
            self._mirror_action and 0 <= min(self._mirror_state) <= max(self._mirror_state) < size
        ):
            raise SettingsError(
                f"model.mirror_state: got {self._mirror_state} with mirror_action {self._mirror_action} and a state of {size} "
                f"entries; expected entries of the state, and mirrored entries of the action. Correct the lists."
            )

    def __call__(self, batch: TransitionBatch[Tensor], generator: torch.Generator) -> TransitionBatch[Tensor]:
        size, device = len(batch.action), batch.action.device
        if self._has_images and self._shift:
            offset = torch.randint(0, 2 * self._shift + 1, (size, 2), generator=generator, device=device)
            s, s_next, g = (
                random_shift(x, offset, max_shift=self._shift)
                for x in (batch.observation, batch.next_observation, batch.goal)
            )
            batch = dataclasses.replace(batch, observation=s, next_observation=s_next, goal=g)
        if self._mirror_action:
            batch = self._mirrored(batch, torch.rand(size, generator=generator, device=device) < 0.5)
        if self._stay_share:
            batch = self._staying(batch, torch.rand(size, generator=generator, device=device) < self._stay_share)
        if self._goal_jitter:
            batch = dataclasses.replace(batch, goal=self._with_jitter(batch.goal, generator))
        return batch

    def _staying(self, batch: TransitionBatch[Tensor], chosen: Tensor) -> TransitionBatch[Tensor]:
        """The chosen rows, but those of a task, as (s', what led there without its motion, s') with the goal s': there, and staying."""
        chosen = chosen & ~is_of_task(batch.source)
        here = batch.next_observation
        action = batch.action.clone()
        for entry in self._stay_entries:
            action[:, entry] = 0.0
        return dataclasses.replace(
            batch,
            observation=_where(chosen, here, batch.observation),
            goal=_where(chosen, self._spec.goal_of(here), batch.goal),
            action=torch.where(chosen.unsqueeze(1), action, batch.action),
            next_action=torch.where(chosen.unsqueeze(1), action, batch.next_action),
            is_end=batch.is_end | chosen,
            next_is_final=batch.next_is_final & ~chosen,
            num_steps=torch.where(chosen, 1, batch.num_steps),
            source=torch.where(chosen, GoalSource.HINDSIGHT, batch.source),
        )

    def _with_jitter(self, goal: Observation, generator: torch.Generator) -> dict[str, Tensor]:
        """The goals with normal noise, each of a standard deviation of its own, uniform between 0 and ``goal_jitter``."""
        state, num = goal[STATE].clone(), len(self._jitter_entries)
        scale = self._goal_jitter * torch.rand(len(state), 1, generator=generator, device=state.device)
        noise = scale * torch.randn(len(state), num, generator=generator, device=state.device)
        for column, entry in enumerate(self._jitter_entries):  # a list as an index would be copied to the device
            state[:, entry] += noise[:, column]
        return {**goal, STATE: state}

    def _mirrored(self, batch: TransitionBatch[Tensor], chosen: Tensor) -> TransitionBatch[Tensor]:
        """The chosen rows with left and right of their images, and the sign of the mirrored entries, changed."""
        sign = _signs(batch.action, self._mirror_action, chosen)
        s, s_next, g = (self._flipped(x, chosen) for x in (batch.observation, batch.next_observation, batch.goal))
        return dataclasses.replace(
            batch,
            observation=s,
            next_observation=s_next,
            goal=g,
            action=batch.action * sign,
            next_action=batch.next_action * sign,
        )

    def _flipped(self, features: Observation, chosen: Tensor) -> dict[str, Tensor]:
        rows = chosen.view(-1, 1, 1, 1)
        flipped = {name: torch.where(rows, x.flip(2), x) if x.dim() == 4 else x for name, x in features.items()}
        if self._mirror_state and STATE in flipped:
            flipped[STATE] = flipped[STATE] * _signs(flipped[STATE], self._mirror_state, chosen)
        return flipped


def _refuse_entries(setting: str, entries: tuple[int, ...], size: int, of: str) -> None:
    if any(not 0 <= entry < size for entry in entries) or len(set(entries)) < len(entries):
        expected = f"indices 0 to {size - 1}, each once" if size else "none, for there is no such thing in these data"
        raise SettingsError(
            f"relabel.{setting}: got {list(entries)} for {of} of {size} entries; expected {expected}. Correct the list, or set "
            f"relabel.{'stay_share' if setting == 'stay_entries' else 'goal_jitter'}: 0 and leave it empty."
        )


def _where(rows: Tensor, one: Observation, other: Observation) -> dict[str, Tensor]:
    return {name: torch.where(rows.view(-1, *[1] * (x.dim() - 1)), one[name], x) for name, x in other.items()}


def _signs(values: Tensor, entries: list[int], chosen: Tensor) -> Tensor:
    """-1 at these entries of the chosen rows, 1 elsewhere."""
    signs = torch.ones_like(values)
    for entry in entries:
        signs[:, entry] -= 2.0 * chosen
    return signs


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
