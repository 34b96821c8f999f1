"""Augmentation: what a mirror and a shift do to a transition, and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from am_ray.models.augmentation import Augmentation
from am_ray.settings import ModelSettings
from am_ray.types import DataSpec, SettingsError
from tests.models.conftest import make_block, sample

SPEC = DataSpec({"state": (3,), "front": (12, 12, 3)}, {"front": None}, (-1.0,) * 4, (1.0,) * 4)


def test_a_mirror_turns_images_and_the_named_entries_of_half_the_transitions() -> None:
    batch = sample(make_block(SPEC), SPEC, size=256)
    mirror = Augmentation(SPEC, ModelSettings(image_shift=0, mirror_action=(1, 3), mirror_state=(2,)))
    turned = mirror(batch, torch.Generator().manual_seed(0))
    rows = (turned.action != batch.action).any(dim=1)
    assert 90 < int(rows.sum()) < 166
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0])
    for one, other in ((turned.action, batch.action), (turned.next_action, batch.next_action)):
        torch.testing.assert_close(one[rows], other[rows] * sign)
        assert torch.equal(one[~rows], other[~rows])
    for one, other in (
        (turned.observation, batch.observation),
        (turned.next_observation, batch.next_observation),
        (turned.goal, batch.goal),
    ):
        assert torch.equal(one["front"][rows], other["front"][rows].flip(2))
        assert torch.equal(one["front"][~rows], other["front"][~rows])
    sign = torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(turned.observation["state"][rows], batch.observation["state"][rows] * sign)
    assert torch.equal(turned.observation["state"][~rows], batch.observation["state"][~rows])
    assert torch.equal(turned.num_steps, batch.num_steps)


def test_without_images_a_batch_passes_as_it_is(state_spec: DataSpec) -> None:
    batch = sample(make_block(state_spec), state_spec)
    assert Augmentation(state_spec, ModelSettings())(batch, torch.Generator()) is batch


@pytest.mark.parametrize(
    ("bounds", "settings", "message"),
    [
        ((-1.0, 1.0), ModelSettings(mirror_action=(4,)), "mirror_action: got entry 4"),
        ((0.0, 1.0), ModelSettings(mirror_action=(0,)), "symmetric bounds"),
        (
            (-1.0, 1.0),
            ModelSettings(mirror_action=(0,), mirror_state=(3,)),
            r"mirror_state: got \[3\].*a state of 3 entries",
        ),
        ((-1.0, 1.0), ModelSettings(mirror_state=(0,)), "mirrored entries of the action"),
        ((-1.0, 1.0), ModelSettings(mirror_action=(1, 1)), r"mirror_action: got \[1, 1\]; expected each entry once"),
        ((-1.0, 1.0), ModelSettings(mirror_action=(1,), mirror_state=(2, 2)), "mirror_state.*each entry once"),
    ],
)
def test_entries_that_a_mirror_cannot_turn_are_refused(bounds: tuple, settings: ModelSettings, message: str) -> None:
    low, high = bounds
    spec = DataSpec(SPEC.observation_shapes, SPEC.goal_indices, (low,) * 4, (high,) * 4)
    with pytest.raises(SettingsError, match=message):
        Augmentation(spec, settings)


def test_a_mirror_needs_images_and_goals_that_it_can_turn() -> None:
    vectors = DataSpec({"state": (3,)}, {"state": None}, (-1.0,), (1.0,))
    with pytest.raises(SettingsError, match="for data without images"):
        Augmentation(vectors, ModelSettings(mirror_action=(0,)))
    part = DataSpec(SPEC.observation_shapes, {"front": None, "state": (1, 2)}, (-1.0,), (1.0,))
    with pytest.raises(SettingsError, match=r"goals of the state's entries \(1, 2\)"):
        Augmentation(part, ModelSettings(mirror_action=(0,), mirror_state=(1,)))
