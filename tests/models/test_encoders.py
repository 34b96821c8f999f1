"""Encoders of (s, g): what slots and differences show the networks."""

from __future__ import annotations

import pytest
import torch

from am_ray.models.encoders import ImageEncoder, ObservationGoalEncoder
from am_ray.models.entities import EntityPooling
from am_ray.models.layers import Difference
from am_ray.settings import ModelSettings
from am_ray.types import DataSpec, SettingsError
from tests.models.conftest import make_block, statistics_of


def test_slots_are_pooled_alike_whatever_their_order() -> None:
    torch.manual_seed(0)
    pooling = EntityPooling(7, 2, (1, 2), width=8, layer_norm=True)
    views = torch.randn(5, 7, 2)
    swapped = views[:, [0, 5, 6, 3, 4, 1, 2]]
    assert not torch.allclose(pooling(views), pooling(swapped))  # which slot it is counts ...
    pooling.own.zero_()
    assert torch.allclose(pooling(views), pooling(swapped))  # ... and nothing else tells them apart
    assert pooling(views).shape == (5, pooling.size)
    assert torch.equal(pooling(views)[:, :2], views[:, 0])  # what is in no slot passes by


def test_the_difference_is_zero_at_the_goal_and_measured_in_thirds_of_the_spread() -> None:
    difference = Difference(torch.tensor([1.0, 3.0, 6.0]), [0, 2])
    observation = torch.tensor([[1.0, 7.0, 2.0]])
    assert difference(observation, torch.tensor([[1.0, 2.0]])).tolist() == [[0.0, 0.0]]
    assert difference(observation, torch.tensor([[1.5, -1.0]])).tolist() == [[1.5, -1.5]]
    assert difference(observation, torch.tensor([[99.0, 2.0]])).tolist() == [[10.0, 0.0]]


def test_images_are_shown_with_the_goal_image_less_the_observation() -> None:
    encoder = ImageEncoder(8, 8, 6, stages=(4,), features=5, difference=True)
    seen: list[torch.Tensor] = []
    encoder.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    observation, goal = torch.randint(0, 256, (2, 3, 8, 8, 3), dtype=torch.uint8)
    assert encoder(torch.cat([observation, goal], dim=3)).shape == (3, 5)
    assert seen[0].shape == (3, 9, 8, 8)
    expected = (goal.float() - observation.float()).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(seen[0][:, 6:], expected)


@pytest.mark.parametrize(
    ("goal_indices", "slots", "message"),
    [
        ({"state": None}, (1, 4), r"got \[1, 4\] for a state of 7 entries"),
        ({"state": None}, (7, 1), r"got \[7, 1\] for a state of 7 entries"),
        ({"state": (0, 1)}, (1, 2), "all of it part of the goal"),
    ],
)
def test_slots_that_do_not_fit_the_state_are_refused(goal_indices: dict, slots: tuple, message: str) -> None:
    spec = DataSpec({"state": (7,)}, goal_indices, (-1.0,), (1.0,))
    with pytest.raises(SettingsError, match=message):
        ObservationGoalEncoder(spec, statistics_of(make_block(spec)), ModelSettings(entity_slots=slots))


@pytest.mark.parametrize("slots", [(1,), (-1, 2), (1, 0)])
def test_slots_that_no_state_has_are_refused(slots: tuple) -> None:
    with pytest.raises(SettingsError, match=r"entity_slots: got .* expected the first entry"):
        ModelSettings(entity_slots=slots)
