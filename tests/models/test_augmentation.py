"""Augmentation: what a mirror, a shift, staying and noise of the goal do to a transition, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from am_ray.models.augmentation import Augmentation
from am_ray.settings import AlgorithmSettings, CriticLossSettings, ModelSettings, RelabelSettings
from am_ray.types import DataSpec, GoalSource, SettingsError
from tests.models.conftest import make_block, sample

SPEC = DataSpec({"state": (3,), "front": (12, 12, 3)}, {"front": None}, (-1.0,) * 4, (1.0,) * 4)


def augmentation(spec: DataSpec, **model: Any) -> Augmentation:
    return Augmentation(spec, AlgorithmSettings(model=ModelSettings(**model)))


def relabelled(spec: DataSpec, **relabel: Any) -> Augmentation:
    settings = AlgorithmSettings(model=ModelSettings(image_shift=0), relabel=RelabelSettings(**relabel))
    return Augmentation(spec, settings)


def test_a_mirror_turns_images_and_the_named_entries_of_half_the_transitions() -> None:
    batch = sample(make_block(SPEC), SPEC, size=256)
    mirror = augmentation(SPEC, image_shift=0, mirror_action=(1, 3), mirror_state=(2,))
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
    assert augmentation(state_spec)(batch, torch.Generator()) is batch


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
        Augmentation(spec, AlgorithmSettings(model=settings))


def test_a_mirror_needs_images_and_goals_that_it_can_turn() -> None:
    vectors = DataSpec({"state": (3,)}, {"state": None}, (-1.0,), (1.0,))
    with pytest.raises(SettingsError, match="for data without images"):
        augmentation(vectors, mirror_action=(0,))
    part = DataSpec(SPEC.observation_shapes, {"front": None, "state": (1, 2)}, (-1.0,), (1.0,))
    with pytest.raises(SettingsError, match=r"goals of the state's entries \(1, 2\)"):
        augmentation(part, mirror_action=(0,), mirror_state=(1,))


GOALS = DataSpec({"state": (4,)}, {"state": (1, 2, 3)}, (-1.0,), (1.0,))


def test_noise_of_the_goal_is_on_its_entries_alone_and_of_many_sizes() -> None:
    batch = sample(make_block(GOALS), GOALS, size=20_000)
    jitter = relabelled(GOALS, goal_jitter=0.1, goal_jitter_entries=(0, 2))
    noisy = jitter(batch, torch.Generator().manual_seed(0))
    off = noisy.goal["state"] - batch.goal["state"]
    assert torch.equal(noisy.goal["state"][:, 1], batch.goal["state"][:, 1])
    assert torch.equal(noisy.observation["state"], batch.observation["state"])
    assert torch.equal(noisy.next_observation["state"], batch.next_observation["state"])
    untouched = sample(make_block(GOALS), GOALS, size=20_000)
    assert torch.equal(batch.goal["state"], untouched.goal["state"])
    # A standard deviation uniform in [0, 0.1]: 0.1 / sqrt(3) over all; both entries of a transition share it, so sizes go together.
    assert off[:, (0, 2)].std(dim=0) == pytest.approx([0.0577, 0.0577], rel=0.03)
    assert off[:, (0, 2)].mean(dim=0) == pytest.approx([0.0, 0.0], abs=0.002)
    sizes = off[:, (0, 2)].abs().T
    assert torch.corrcoef(off[:, (0, 2)].T)[0, 1].abs() < 0.05 < 0.2 < torch.corrcoef(sizes)[0, 1]
    again = jitter(batch, torch.Generator().manual_seed(0))
    assert torch.equal(again.goal["state"], noisy.goal["state"])


@pytest.mark.parametrize("entries", [(3,), (-1,), (0, 0)], ids=str)
def test_jitter_and_staying_are_of_entries_that_there_are(entries: tuple[int, ...]) -> None:
    with pytest.raises(
        SettingsError,
        match=r"goal_jitter_entries.* for a goal's state of 3 entries; expected indices 0 to 2, each once.*goal_jitter: 0",
    ):
        relabelled(GOALS, goal_jitter=0.1, goal_jitter_entries=entries)
    images = DataSpec(SPEC.observation_shapes, {"front": None}, (-1.0,) * 3, (1.0,) * 3)
    with pytest.raises(SettingsError, match="a goal's state of 0 entries; expected none, for there is no such thing"):
        relabelled(images, goal_jitter=0.1, goal_jitter_entries=(0,))
    with pytest.raises(SettingsError, match=r"stay_entries.* for an action of 3 entries.*stay_share: 0"):
        relabelled(images, stay_share=0.1, stay_entries=entries)


def test_what_cannot_be_0_cannot_stay() -> None:
    forward = DataSpec({"state": (3,)}, {"state": None}, (-1.0, 0.2), (1.0, 1.0))
    relabelled(forward, stay_share=0.1, stay_entries=(0,))
    with pytest.raises(SettingsError, match=r"stay_entries: got entry 1 of actions in \[-1.0, 0.2\]"):
        relabelled(forward, stay_share=0.1, stay_entries=(0, 1))


def test_some_transitions_make_room_for_one_that_stays_where_it_was_to_come() -> None:
    spec = DataSpec({"state": (3,), "front": (8, 8, 3)}, {"front": None, "state": (0, 2)}, (-1.0,) * 4, (1.0,) * 4)
    batch = sample(make_block(spec), spec, size=4000, chaining_ratio=0.5)
    stays = relabelled(spec, stay_share=0.25, stay_entries=(0, 2))(batch, torch.Generator().manual_seed(0))
    rows = (stays.action != batch.action).any(dim=1)
    assert 0.22 < rows.float().mean() < 0.28
    here = batch.next_observation
    assert torch.equal(stays.observation["front"][rows], here["front"][rows])
    assert torch.equal(stays.observation["state"][rows], here["state"][rows])
    assert torch.equal(stays.goal["front"][rows], here["front"][rows])
    assert torch.equal(stays.goal["state"][rows], here["state"][rows][:, [0, 2]])
    for action in (stays.action, stays.next_action):
        torch.testing.assert_close(action[rows], batch.action[rows] * torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert stays.is_end[rows].all() and not stays.next_is_final[rows].any()
    assert (stays.num_steps[rows] == 1).all() and (stays.source[rows] == GoalSource.HINDSIGHT).all()
    assert set(batch.source[rows].tolist()) == {GoalSource.HINDSIGHT, GoalSource.RANDOM}
    for name in ("front", "state"):
        assert torch.equal(stays.next_observation[name], here[name])
        assert torch.equal(stays.observation[name][~rows], batch.observation[name][~rows])
        assert torch.equal(stays.goal[name][~rows], batch.goal[name][~rows])
    for name in ("action", "next_action", "is_end", "next_is_final", "num_steps", "source"):
        assert torch.equal(getattr(stays, name)[~rows], getattr(batch, name)[~rows])


def test_transitions_of_a_task_make_no_room_beside_others_that_do(state_spec: DataSpec) -> None:
    batch = sample(make_block(state_spec), state_spec)
    is_task = torch.arange(len(batch.source)) % 2 == 0
    mixed = replace(batch, source=torch.where(is_task, GoalSource.FAILURE, batch.source))
    stays = relabelled(state_spec, stay_share=1.0, stay_entries=(0,))(mixed, torch.Generator())
    for name in ("action", "next_action", "is_end", "num_steps", "source"):
        assert torch.equal(getattr(stays, name)[is_task], getattr(mixed, name)[is_task])
    for one, other in ((stays.observation, mixed.observation), (stays.goal, mixed.goal)):
        assert torch.equal(one["state"][is_task], other["state"][is_task])
    assert (stays.source[~is_task] == GoalSource.HINDSIGHT).all() and stays.is_end[~is_task].all()


def test_the_goal_of_what_stays_is_off_too(state_spec: DataSpec) -> None:
    batch = sample(make_block(state_spec), state_spec)
    both = {"stay_share": 1.0, "stay_entries": (0,), "goal_jitter": 0.1, "goal_jitter_entries": (0,)}
    stays = relabelled(state_spec, **both)(batch, torch.Generator().manual_seed(0))
    off = stays.goal["state"] - batch.next_observation["state"]
    assert (off[:, 0] != 0.0).all() and (off[:, 1:] == 0.0).all()
    assert torch.equal(stays.observation["state"], batch.next_observation["state"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"goal_jitter": 0.1}, r"goal_jitter: got 0\.1 without goal_jitter_entries"),
        ({"stay_share": 0.1}, r"stay_share: got 0\.1 without stay_entries"),
    ],
    ids=str,
)
def test_a_share_or_a_size_without_entries_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RelabelSettings(**settings)


def test_negatives_of_the_behaviour_are_not_of_what_no_data_do() -> None:
    critic = CriticLossSettings(negative_behavior=4, cloning_weight=0.1)
    with pytest.raises(SettingsError, match=r"negative_behavior: got 4 with relabel\.stay_share = 0\.1"):
        AlgorithmSettings(critic=critic, relabel=RelabelSettings(stay_share=0.1, stay_entries=(0,)))
