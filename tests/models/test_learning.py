"""What the method claims, on worlds small enough to check in seconds.

States are one-hot, so that nothing generalises by accident: what the critic knows of a pair (s, g) it was taught.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from am_ray.core.updates import step_if_finite
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.precision import Precision, network_precision
from am_ray.settings import AlgorithmSettings, CriticLossSettings, ModelSettings, OptimizationSettings
from am_ray.types import DataSpec, EpisodeBlock
from tests.models.conftest import sample, statistics_of

CORRIDORS = 8
SIGNS = np.array([1.0 if k % 3 else -1.0 for k in range(CORRIDORS)])
START, MIDDLE, DEAD_END, GOAL = range(4)
SPEC = DataSpec({"state": (4 * CORRIDORS,)}, {"state": None}, (-1.0,), (1.0,))
SETTINGS = AlgorithmSettings(
    model=ModelSettings(width=64, depth=1, head_width=64, head_depth=2),
    # One-dimensional actions need few candidates, and one draw.
    critic=CriticLossSettings(discount=0.9, negative_uniform=8, negative_data=8, negative_draws=0),
    optimization=OptimizationSettings(learning_rate=2e-3, target_update_rate=0.02, acting_average_rate=0.02),
)


def one_hot(place: int, corridor: int | np.ndarray) -> np.ndarray:
    return np.eye(4 * CORRIDORS, dtype=np.float32)[place * CORRIDORS + np.asarray(corridor)]


def of_one_step(states: np.ndarray, actions: np.ndarray) -> EpisodeBlock:
    """Episodes of two rows each; the action of the second is padding."""
    episodes = len(states) // 2
    return EpisodeBlock(
        observations={"state": states},
        actions=actions,
        rewards=np.zeros(len(states), np.float32),
        successes=np.zeros(len(states), bool),
        first_row=np.arange(episodes) * 2,
        num_transitions=np.ones(episodes, np.int64),
        episode_index=np.arange(episodes),
    )


def corridors() -> EpisodeBlock:
    """Episodes start -> middle, start -> dead end and middle -> goal: no episode goes from a start to a goal."""
    rng = np.random.default_rng(0)
    states: list[np.ndarray] = []
    actions: list[float] = []
    for _ in range(8):
        for k in range(CORRIDORS):
            strength = rng.uniform(0.3, 1.0)
            for first, last, sign in ((START, MIDDLE, SIGNS[k]), (START, DEAD_END, -SIGNS[k]), (MIDDLE, GOAL, 1.0)):
                states += [one_hot(first, k), one_hot(last, k)]
                actions += [sign * strength, 0.0]
    return of_one_step(np.stack(states), np.array(actions, np.float32)[:, None])


def train(
    block: EpisodeBlock, spec: DataSpec, settings: AlgorithmSettings, *, updates: int, chaining_ratio: float
) -> ActionableModel:
    torch.manual_seed(0)
    model = ActionableModel(spec, statistics_of(block), settings)
    parameters = model.trainable_parameters()
    optimizer = torch.optim.Adam(parameters, lr=settings.optimization.learning_rate)
    generator = torch.Generator().manual_seed(0)
    for update in range(updates):
        batch = sample(block, spec, size=128, chaining_ratio=chaining_ratio, seed=update)
        optimizer.zero_grad()
        with network_precision(settings.optimization.precision, torch.device("cpu")):
            loss = model.loss(batch, generator=generator).loss
        loss.backward()
        step_if_finite(optimizer, parameters, max_gradient_norm=10.0)
        model.update_averages()
    return model


def value(model: ActionableModel, state: np.ndarray, action: float, goal: np.ndarray) -> Tensor:
    with torch.no_grad():
        s, g = ({"state": torch.from_numpy(x)} for x in (state, goal))
        features = model.acting_critic.encode(s, g)
        return torch.sigmoid(model.acting_critic.score(features, torch.full((len(state), 1, 1), action)))[:, 0]


def start_action_signs(model: ActionableModel) -> np.ndarray:
    every = np.arange(CORRIDORS)
    s, g = ({"state": torch.from_numpy(one_hot(place, every))} for place in (START, GOAL))
    return np.asarray(np.sign(model.best_action(s, g, generator=torch.Generator().manual_seed(0)).action[:, 0].numpy()))


def test_chaining_joins_trajectories_that_only_meet_in_the_middle() -> None:
    chained = train(corridors(), SPEC, SETTINGS, updates=1_200, chaining_ratio=0.5)
    unchained = train(corridors(), SPEC, SETTINGS, updates=1_200, chaining_ratio=0.0)
    every = np.arange(CORRIDORS)
    starts, goals = one_hot(START, every), one_hot(GOAL, every)

    assert (start_action_signs(chained) == SIGNS).all()
    assert not (start_action_signs(unchained) == SIGNS).all()

    def gap(model: ActionableModel) -> np.ndarray:
        """Q of the action towards the middle minus Q of the action into the dead end, by corridor."""
        plus, minus = value(model, starts, 0.6, goals).numpy(), value(model, starts, -0.6, goals).numpy()
        return np.asarray(np.where(SIGNS > 0, plus - minus, minus - plus))

    assert gap(chained).min() > 0.05
    assert gap(unchained).min() < 0.0  # untaught pairs: some corridors are simply wrong


def narrow_data() -> tuple[EpisodeBlock, DataSpec]:
    """One-step episodes whose actions lie in a narrow band that depends on the state; every one reaches its goal."""
    spec = DataSpec({"state": (2,)}, {"state": None}, (-1.0, -1.0), (1.0, 1.0))
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (800, 2)).astype(np.float32)
    actions = np.stack([0.5 * states[:, 0], -0.5 * states[:, 1]], axis=1)
    actions += rng.normal(0, 0.03, actions.shape)
    rows = np.empty((1_600, 2), np.float32)
    rows[0::2], rows[1::2] = states, states + 0.3 * actions
    return of_one_step(rows, np.repeat(actions, 2, axis=0).astype(np.float32)), spec


def distance_to_data(negative_ratio: float, precision: Precision = "float32") -> float:
    """Mean distance of argmax_a Q from the band that the data's actions lie in."""
    block, spec = narrow_data()
    changes: dict[str, Any] = {"negative_ratio": negative_ratio}
    optimization = replace(SETTINGS.optimization, precision=precision)
    settings = replace(SETTINGS, critic=replace(SETTINGS.critic, **changes), optimization=optimization)
    model = train(block, spec, settings, updates=800, chaining_ratio=0.0)
    states, goals = block.observations["state"][0::2], block.observations["state"][1::2]
    s, g = ({"state": torch.from_numpy(x.copy())} for x in (states, goals))
    action = model.best_action(s, g, generator=torch.Generator().manual_seed(0)).action.numpy()
    band = np.stack([0.5 * states[:, 0], -0.5 * states[:, 1]], axis=1)
    return float(np.linalg.norm(action - band, axis=1).mean())


def test_without_negatives_the_argmax_leaves_the_data_with_them_it_does_not() -> None:
    assert distance_to_data(1.0) < 0.25
    assert distance_to_data(0.0) > 0.6


@pytest.mark.slow
def test_bfloat16_learns_the_same() -> None:
    assert distance_to_data(1.0, "bfloat16") < 0.25


WAIT, GO = -0.6, 0.6


def hesitating() -> EpisodeBlock:
    """At a start the data mostly wait, and one in five of those that wait gets to its goal; all that go do, but they are few.

    Other places of the data take all actions alike, so that neither of these two is rare.
    """
    rng = np.random.default_rng(0)
    states: list[np.ndarray] = []
    actions: list[float] = []
    for k in range(CORRIDORS):
        for action, last, number in ((WAIT, GOAL, 8), (WAIT, DEAD_END, 32), (GO, GOAL, 4)):
            for _ in range(number):
                states += [one_hot(START, k), one_hot(last, k)]
                actions += [action + float(rng.normal(0.0, 0.05)), 0.0]
        for action in rng.uniform(-1.0, 1.0, 120):
            states += [one_hot(MIDDLE, k), one_hot(DEAD_END, k)]
            actions += [float(action), 0.0]
    return of_one_step(np.stack(states), np.array(actions, np.float32)[:, None])


FAR = {"negative_uniform": 8, "negative_data": 8, "negative_behavior": 0}
BEHAVIOR = {"negative_uniform": 0, "negative_data": 0, "negative_behavior": 16}


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        # b(go | s, g) / b(wait | s, g) = 1 / 2
        (FAR | {"negative_temperature": 100.0}, 0.3, 0.8),
        # P(goal | s, go) / P(goal | s, wait) = 5, if candidates are drawn as they come; its root, if those of a high Q are
        (BEHAVIOR | {"negative_temperature": 100.0}, 3.0, 8.0),
        (BEHAVIOR | {"negative_temperature": 1.0}, 1.6, 3.0),
        (FAR | {"negative_temperature": 1.0, "negative_behavior": 32}, 1.05, 3.0),
    ],
    ids=["far", "behaviour", "behaviour, hard", "both, hard"],
)
def test_with_negatives_of_the_behaviour_q_says_which_action_leads_to_the_goal(
    changes: dict[str, Any], low: float, high: float
) -> None:
    critic = replace(SETTINGS.critic, cloning_weight=1.0, negative_draws=8, **changes)
    model = train(hesitating(), SPEC, replace(SETTINGS, critic=critic), updates=1_000, chaining_ratio=0.0)
    every = np.arange(CORRIDORS)
    starts, goals = one_hot(START, every), one_hot(GOAL, every)
    wait, go = (torch.logit(value(model, starts, action, goals)) for action in (WAIT, GO))
    assert low < float((go - wait).exp().median()) < high
