"""The learned tensor in place of the goal: which rows it fills, how it starts, that averages and policies have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from am_ray.models.actionable_model import ActionableModel
from am_ray.models.critic import Critic
from am_ray.models.policy import GoalConditionedPolicy, build_model
from am_ray.models.task_goal import TaskGoal, start_task_at, with_task
from am_ray.models.weights import load_weights
from am_ray.settings import AlgorithmSettings, CriticLossSettings, ModelSettings
from am_ray.types import (
    DataSpec,
    DataStatistics,
    EnvironmentContractError,
    GoalSource,
    TaskExamples,
    TransitionBatch,
)

SPEC = DataSpec(
    {"state": (3,), "front": (8, 8, 3)},
    {"state": (0, 2), "front": None},
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
)
STATISTICS = DataStatistics(
    {"state": np.array([1.0, 2.0, 3.0], np.float32)},
    {"state": np.array([1.0, 1.0, 0.5], np.float32)},
    np.zeros((4, 2), np.float32),
)
SETTINGS = AlgorithmSettings(
    method="task_critic",
    model=ModelSettings(width=16, depth=1, head_width=16, head_depth=1, image_channels=(4,), image_shift=0),
)


def _model(settings: AlgorithmSettings = SETTINGS) -> ActionableModel:
    torch.manual_seed(0)
    model = build_model(SPEC, STATISTICS, settings)
    assert isinstance(model, ActionableModel)
    return model


def _batch(source: list[int], seed: int = 0) -> TransitionBatch[torch.Tensor]:
    rng, size = np.random.default_rng(seed), len(source)

    def observation() -> dict[str, torch.Tensor]:
        return {
            "state": torch.from_numpy(rng.normal(size=(size, 3)).astype(np.float32)),
            "front": torch.from_numpy(rng.integers(0, 256, (size, 8, 8, 3), dtype=np.uint8)),
        }

    return TransitionBatch(
        observation=observation(),
        next_observation=observation(),
        goal=SPEC.goal_of(observation()),
        action=torch.from_numpy(rng.uniform(-1, 1, (size, 2)).astype(np.float32)),
        next_action=torch.from_numpy(rng.uniform(-1, 1, (size, 2)).astype(np.float32)),
        next_is_final=torch.zeros(size, dtype=torch.bool),
        is_end=torch.zeros(size, dtype=torch.bool),
        num_steps=torch.full((size,), 2),
        source=torch.tensor(source),
    )


def test_it_fills_the_rows_of_the_task_and_no_others() -> None:
    task = TaskGoal(SPEC, STATISTICS)
    goal = _batch([0, 2]).goal
    filled = task(_batch([0, 2]).observation, with_task(goal, torch.tensor([False, True])))
    assert torch.equal(filled["state"][0], goal["state"][0])
    assert torch.equal(filled["front"][0], goal["front"][0].float())
    # It starts at the data's mean (entries 0 and 2 of the state) and at grey.
    assert filled["state"][1].tolist() == [1.0, 3.0]
    assert torch.equal(filled["front"][1], torch.full((8, 8, 3), 127.5))


def test_it_can_start_at_a_goal_in_every_copy_of_the_network() -> None:
    model = _model()
    start = {"state": np.array([5.0, 7.0]), "front": np.full((8, 8, 3), 255.0)}
    start_task_at(model, start, weight_cost=0.01)
    marked = with_task(_batch([2]).goal, torch.tensor([True]))
    for critic in (model.critic, model.target_critic, model.acting_critic):
        assert critic.encoder.task is not None
        filled = critic.encoder.task(_batch([2]).observation, marked)
        assert filled["state"][0].tolist() == [5.0, 7.0]
        assert torch.allclose(filled["front"], torch.tensor(255.0))


def test_an_affine_goal_is_fitted_to_what_states_led_to() -> None:
    model = _model()
    rng = np.random.default_rng(0)
    states = rng.normal([1.0, 2.0, 3.0], [1.0, 1.0, 0.5], (400, 3)).astype(np.float32)
    # Success is where the second entry was; the goal is made of entries 0 and 2.
    goals = np.stack([states[:, 1] + 0.5, np.full(400, 4.0)], axis=1).astype(np.float32)
    start = {"state": goals.mean(axis=0), "front": np.full((8, 8, 3), 255.0)}
    start_task_at(model, start, TaskExamples({"state": states}, {"state": goals}), weight_cost=1e-6)
    batch = _batch([2, 2, 0])
    for critic in (model.critic, model.target_critic, model.acting_critic):
        assert critic.encoder.task is not None
        filled = critic.encoder.task(batch.observation, with_task(batch.goal, torch.tensor([True, True, False])))
        expected = torch.stack([batch.observation["state"][:2, 1] + 0.5, torch.full((2,), 4.0)], dim=1)
        assert torch.allclose(filled["state"][:2], expected, atol=1e-3)
        assert torch.equal(filled["state"][2], batch.goal["state"][2])
        assert torch.allclose(filled["front"][:2], torch.tensor(255.0))


def test_what_few_examples_do_not_tell_stays_as_it_is_in_the_state() -> None:
    model = _model()
    # Entry 0 is lifted by 2 from wherever it was; entry 2, the goal's other one, is left alone. Three states say no more.
    states = np.array([[0.0, 2.0, 3.0], [1.0, 2.5, 2.0], [2.0, 1.5, 4.0]], np.float32)
    goals = states[:, [0, 2]] + np.array([2.0, 0.0], np.float32)
    start = {"state": goals.mean(axis=0), "front": np.zeros((8, 8, 3))}
    start_task_at(model, start, TaskExamples({"state": states}, {"state": goals}), weight_cost=0.01)
    batch, task = _batch([2, 2]), model.critic.encoder.task
    assert task is not None
    filled = task(batch.observation, with_task(batch.goal, torch.tensor([True, True])))
    unseen = batch.observation["state"]
    assert torch.allclose(filled["state"], torch.stack([unseen[:, 0] + 2.0, unseen[:, 2]], dim=1), atol=0.02)


def test_an_entry_takes_the_value_of_another_in_the_units_of_the_data() -> None:
    model = _model()
    states = np.random.default_rng(0).normal([1.0, 2.0, 3.0], [1.0, 1.0, 0.5], (5, 3)).astype(np.float32)
    # Entry 2, of which mean and spread are others, comes to where entry 1 was; entry 0 stays.
    goals = states[:, [0, 1]]
    start = {"state": goals.mean(axis=0), "front": np.zeros((8, 8, 3))}
    start_task_at(model, start, TaskExamples({"state": states}, {"state": goals}), weight_cost=0.2)
    batch = _batch([2, 2])
    for critic in (model.critic, model.target_critic, model.acting_critic):
        assert critic.encoder.task is not None
        filled = critic.encoder.task(batch.observation, with_task(batch.goal, torch.tensor([True, True])))
        assert torch.allclose(filled["state"], batch.observation["state"][:, [0, 1]], atol=1e-5)


def test_a_hand_turns_along_an_object_to_the_nearer_side_and_what_else_is_fitted_stays() -> None:
    spec = replace(SPEC, observation_shapes={"state": (5,)}, goal_indices={"state": (0, 1, 2)})
    statistics = replace(
        STATISTICS, mean={"state": np.full(5, 0.3, np.float32)}, std={"state": np.full(5, 0.5, np.float32)}
    )
    model = build_model(spec, statistics, SETTINGS)
    rng = np.random.default_rng(0)

    def states(hand: np.ndarray, thing: np.ndarray) -> np.ndarray:
        height = rng.uniform(0, 1, len(hand))
        entries = [np.sin(hand), np.cos(hand), height, np.cos(thing), np.sin(thing)]
        return np.stack(entries, axis=1).astype(np.float32)

    def grasp(hand: np.ndarray, thing: np.ndarray) -> np.ndarray:
        yaw = thing + np.pi * np.round((hand - thing) / np.pi)
        return np.stack([np.sin(yaw), np.cos(yaw), np.full(len(yaw), 0.9)], axis=1).astype(np.float32)

    hand, thing = rng.uniform(-1, 1, 30), rng.uniform(-3, 3, 30)
    examples = TaskExamples({"state": states(hand, thing)}, {"state": grasp(hand, thing)})
    start_task_at(model, {"state": np.zeros(3)}, examples, weight_cost=1 / 30)
    hand, thing = rng.uniform(-1, 1, 50), rng.uniform(-3, 3, 50)
    observation = {"state": torch.from_numpy(states(hand, thing))}
    again = build_model(spec, statistics, SETTINGS)
    again.load_state_dict(model.state_dict())  # a checkpoint has them
    for critic in (model.critic, model.acting_critic, again.critic):
        assert isinstance(critic, Critic) and critic.encoder.task is not None
        goal = with_task({"state": torch.zeros(50, 3)}, torch.ones(50, dtype=torch.bool))
        filled = critic.encoder.task(observation, goal)["state"]
        assert torch.allclose(filled, torch.from_numpy(grasp(hand, thing)), atol=0.02)


def test_where_the_state_lists_things_four_grasps_tell_how_the_hand_turns() -> None:
    # A hand (position, two widths, yaw) and three things (position, yaw): the hand comes to the second one, along it.
    spec = DataSpec({"state": (14,)}, {"state": None}, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))
    std = np.array(
        [4.0, 1.0, 1.0, 1.0, 1.0, *[0.5, 1.0, 1.0] * 3], np.float32
    )  # a slope of 1 is one of 1/8 in these units
    statistics = replace(STATISTICS, mean={"state": np.zeros(14, np.float32)}, std={"state": std})
    rng = np.random.default_rng(0)
    position, yaw = rng.normal(size=(4, 4)), rng.uniform(-3, 3, (4, 4))
    yaw[:, 0] = rng.uniform(-1, 1, 4)
    yaw[:, 2] += 0.2 * rng.normal(size=4)
    before = np.stack([position, np.cos(yaw), np.sin(yaw)], axis=2)
    after = before.copy()
    turned = yaw[:, 2] + np.pi * np.round((yaw[:, 0] - yaw[:, 2]) / np.pi) + 0.1 * rng.normal(size=4)
    after[:, 0] = np.stack([position[:, 2] + 0.1 * rng.normal(size=4), np.cos(turned), np.sin(turned)], axis=1)
    states, goals = (
        np.insert(values.reshape(4, 12), [1, 1], 0.0, axis=1).astype(np.float32) for values in (before, after)
    )
    sources = {}
    for slots in ((), (5, 3)):
        settings = replace(SETTINGS, model=replace(SETTINGS.model, entity_slots=slots))
        model = build_model(spec, statistics, settings)
        assert isinstance(model, ActionableModel) and isinstance(model.critic, Critic)
        start_task_at(model, {}, TaskExamples({"state": states}, {"state": goals}), weight_cost=0.25)
        assert model.critic.encoder.task is not None
        sources[slots] = model.critic.encoder.task.get_buffer("state_turn_source").tolist()
    assert sources == {(): [-1] * 14, (5, 3): [*[-1] * 3, 9, *[-1] * 10]}


def test_weights_from_before_goals_could_turn_have_no_turns() -> None:
    model = _model()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    assert any("_turn_" in name for name in weights)
    before = {name: value for name, value in weights.items() if "_turn_" not in name}
    other = _model()
    load_weights(other, before, where="an old run")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_tensor_takes_the_mean_of_the_examples_and_no_state_moves_it() -> None:
    model = _model(replace(SETTINGS, model=replace(SETTINGS.model, task_goal="tensor")))
    examples = TaskExamples({"state": np.eye(3, dtype=np.float32)}, {"state": np.eye(3, 2, dtype=np.float32)})
    start_task_at(model, {"state": np.array([5.0, 7.0]), "front": np.zeros((8, 8, 3))}, examples, weight_cost=1e-6)
    task = model.critic.encoder.task
    assert task is not None
    filled = task(_batch([2, 2]).observation, with_task(_batch([2, 2]).goal, torch.tensor([True, True])))
    assert filled["state"].tolist() == [[5.0, 7.0], [5.0, 7.0]]


def test_the_goal_of_a_task_row_does_not_matter_and_that_of_another_row_does() -> None:
    model = _model()

    def loss(batch: TransitionBatch[torch.Tensor]) -> float:
        return float(model.loss(batch, generator=torch.Generator().manual_seed(0)).loss.detach())

    for source, matters in ((GoalSource.SUCCESS, False), (GoalSource.FAILURE, False), (GoalSource.HINDSIGHT, True)):
        batch = _batch([source] * 4)
        other = replace(batch, goal={name: value + 1 for name, value in batch.goal.items()})
        assert (loss(batch) != loss(other)) is matters, source


@pytest.mark.parametrize(("source", "target"), [(GoalSource.SUCCESS, 1.0), (GoalSource.FAILURE, None)])
def test_y_is_one_where_the_task_is_fulfilled_and_a_bootstrap_elsewhere(
    source: GoalSource, target: float | None
) -> None:
    settings = replace(SETTINGS, critic=CriticLossSettings(monte_carlo_bound=False, discount=0.9))
    model = _model(settings)
    batch = replace(_batch([source] * 4), is_end=torch.ones(4, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    y = model._target(model._prepared(batch, generator), generator)
    expected = torch.full((4,), 1.0) if target == 1.0 else 0.9 * y.next_value
    assert torch.allclose(y.value, expected)


def test_the_tensor_learns_and_its_averages_follow() -> None:
    model = _model()
    online, averaged = (critic.encoder.task for critic in (model.critic, model.target_critic))
    assert online is not None and averaged is not None
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=1.0)
    model.loss(_batch([2, 3, 2, 3]), generator=torch.Generator().manual_seed(0)).loss.backward()
    optimizer.step()
    model.update_averages()
    moved = online.tensor["state"]
    assert bool((moved != 0).all())
    assert torch.allclose(averaged.tensor["state"], 0.005 * moved)


def test_a_task_changes_nothing_for_those_who_learn_goals() -> None:
    goals = _model(replace(SETTINGS, method="actionable_models"))
    task = _model()
    own = {name: value for name, value in task.state_dict().items() if ".task." not in name}
    assert own.keys() == goals.state_dict().keys()
    assert all(torch.equal(value, own[name]) for name, value in goals.state_dict().items())


def test_the_policy_of_a_task_needs_no_goal_and_looks_at_none() -> None:
    policy = GoalConditionedPolicy(_model())
    observation = {name: value.numpy() for name, value in _batch([0, 0]).observation.items()}
    assert not policy.needs_goal
    alone = policy.act(observation)
    policy.reseed(0)
    assert np.array_equal(alone, policy.act(observation, {"nonsense": np.zeros(3)}))
    single = policy.act({name: value[0] for name, value in observation.items()})
    assert single.shape == (2,)


def test_a_policy_that_reaches_goals_insists_on_one() -> None:
    policy = GoalConditionedPolicy(_model(replace(SETTINGS, method="actionable_models")))
    with pytest.raises(EnvironmentContractError, match=r"goal: got none; expected one.*Pass a goal"):
        policy.act({name: value.numpy() for name, value in _batch([0]).observation.items()})
