"""Acting from NumPy: units, shapes, goals given whole or reduced, and precise refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from am_ray.models.augmentation import random_shift
from am_ray.models.policy import GoalConditionedPolicy, build_model
from am_ray.settings import AlgorithmSettings, ModelSettings
from am_ray.types import DataSpec, EnvironmentContractError
from tests.models.conftest import make_block, statistics_of

SMALL = ModelSettings(width=16, depth=1, head_width=16, head_depth=1, image_channels=(4, 4))


def policy(spec: DataSpec, method: str = "actionable_models") -> GoalConditionedPolicy:
    torch.manual_seed(0)
    settings = AlgorithmSettings(method=method, model=SMALL)  # type: ignore[arg-type]
    return GoalConditionedPolicy(build_model(spec, statistics_of(make_block(spec)), settings))


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
def test_a_batch_acts_like_its_rows(state_spec: DataSpec, method: str) -> None:
    actor = policy(state_spec, method)
    states = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    actor.reseed(5)
    batch = actor.act(states, states[::-1].copy())
    assert batch.shape == (3, 2)
    assert (np.abs(batch) <= 2.0).all()
    actor.reseed(5)
    np.testing.assert_array_equal(batch, actor.act({"state": states}, {"state": states[::-1].copy()}))
    if method == "behavior_cloning":
        np.testing.assert_allclose(actor.act(states[0], states[2]), batch[0], atol=1e-6)


def test_acting_uses_the_averaged_weights(state_spec: DataSpec) -> None:
    actor = policy(state_spec, "behavior_cloning")
    before = actor.act(np.zeros(4, np.float32), np.ones(4, np.float32))
    with torch.no_grad():
        for parameter in actor.model.trainable_parameters():
            parameter += 1.0
    np.testing.assert_array_equal(before, actor.act(np.zeros(4, np.float32), np.ones(4, np.float32)))


def test_the_policys_value_is_q_of_its_action(state_spec: DataSpec) -> None:
    actor = policy(state_spec)
    s, g = np.zeros(4, np.float32), np.ones(4, np.float32)
    chosen = actor.evaluate(s, g)
    model = actor.model
    with torch.no_grad():
        features = model.acting_critic.encode({"state": torch.zeros(1, 4)}, {"state": torch.ones(1, 4)})  # type: ignore[union-attr, operator]
        unit = model.action_scale.to_unit(torch.from_numpy(chosen.action))
        logit = model.acting_critic.score(features, unit[None, None])  # type: ignore[union-attr, operator]
    assert float(chosen.value) == pytest.approx(float(torch.sigmoid(logit)), abs=1e-5)


def test_a_goal_may_be_whole_or_reduced() -> None:
    spec = DataSpec({"state": (4,)}, {"state": (2, 0)}, (-1.0,), (1.0,))
    actor = policy(spec, "behavior_cloning")
    state = np.arange(4, dtype=np.float32)
    whole, reduced = np.array([7.0, 8.0, 9.0, 6.0]), np.array([9.0, 7.0])
    np.testing.assert_array_equal(actor.act(state, whole), actor.act(state, reduced))


def test_a_camera_that_is_not_part_of_the_goal_needs_no_goal_image(image_spec: DataSpec) -> None:
    actor = policy(image_spec)
    observation = {"state": np.zeros(4, np.float32), "front": np.zeros((12, 12, 3), np.uint8)}
    assert actor.act(observation, np.zeros((12, 12, 3), np.uint8)).shape == (2,)


@pytest.mark.parametrize(
    ("observation", "message"),
    [(np.zeros(5, np.float32), r"shape \(5,\).*trained with \(4,\)"), ({"pose": np.zeros(4)}, r"needs 'state'")],
)
def test_wrong_observations_are_refused(state_spec: DataSpec, observation: np.ndarray, message: str) -> None:
    with pytest.raises(EnvironmentContractError, match=message):
        policy(state_spec).act(observation, np.zeros(4, np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
@pytest.mark.parametrize("where", ["observation", "goal"])
def test_images_of_another_type_than_bytes_are_refused(image_spec: DataSpec, dtype: type, where: str) -> None:
    """Floats in [0, 1] would be cast to black."""
    good, bad = np.ones((12, 12, 3), np.uint8), np.ones((12, 12, 3), dtype)
    images = (bad, good) if where == "observation" else (good, bad)
    with pytest.raises(EnvironmentContractError, match=rf"{where}: 'front' has dtype {np.dtype(dtype)}.*astype"):
        policy(image_spec).act({"state": np.zeros(4), "front": images[0]}, images[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", ["observation", "goal"])
def test_vectors_that_are_not_finite_are_refused(state_spec: DataSpec, value: float, where: str) -> None:
    good, bad = np.zeros(4), np.array([0.0, value, 0.0, 0.0])
    with pytest.raises(EnvironmentContractError, match=rf"{where}: 'state' holds values that are not finite"):
        policy(state_spec).act(*((bad, good) if where == "observation" else (good, bad)))


@pytest.mark.parametrize("method", ["actionable_models", "behavior_cloning"])
def test_a_single_goal_is_for_the_whole_batch(state_spec: DataSpec, method: str) -> None:
    actor = policy(state_spec, method)
    states, goal = np.random.default_rng(0).normal(size=(3, 4)), np.array([0.1, 0.2, 0.3, 0.4])
    for single, repeated in (((states, goal), (states, np.tile(goal, (3, 1)))),
                             ((goal, states), (np.tile(goal, (3, 1)), states))):  # fmt: skip
        actor.reseed(1)
        found = actor.evaluate(*single)
        actor.reseed(1)
        expected = actor.evaluate(*repeated)
        assert found.action.shape == (3, 2)
        np.testing.assert_array_equal(found.action, expected.action)
        np.testing.assert_array_equal(found.value, expected.value)


def test_batches_that_do_not_match_are_refused(image_spec: DataSpec, state_spec: DataSpec) -> None:
    with pytest.raises(EnvironmentContractError, match="batches of 3 and 2"):
        policy(state_spec).act(np.zeros((3, 4)), np.zeros((2, 4)))
    mixed = {"state": np.zeros((2, 4)), "front": np.zeros((12, 12, 3), np.uint8)}
    with pytest.raises(EnvironmentContractError, match="'state' with a batch of 2, 'front' with no batch axis"):
        policy(image_spec).act(mixed, np.zeros((12, 12, 3), np.uint8))


def test_random_shift_moves_whole_pixels_and_repeats_the_border() -> None:
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3, 1)
    still = random_shift({"front": image}, torch.tensor([[1, 1]]), max_shift=1)["front"]
    assert torch.equal(still, image)
    down = random_shift({"front": image}, torch.tensor([[2, 1]]), max_shift=1)["front"]
    assert down[0, :, :, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]
    assert down.dtype == torch.uint8
