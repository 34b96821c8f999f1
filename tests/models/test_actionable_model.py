"""The loss as a whole: every setting changes it, and the switches do what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from am_ray.core.targets import leads_to_goal
from am_ray.models.actionable_model import ActionableModel
from am_ray.models.behavior_cloning import BehaviorCloning
from am_ray.settings import AlgorithmSettings, CriticLossSettings, ModelSettings, OptimizationSettings
from am_ray.types import DataSpec, GoalSource, SettingsError, TransitionBatch
from tests.models.conftest import make_block, sample, statistics_of

SMALL = ModelSettings(width=16, depth=1, head_width=16, head_depth=1, image_channels=(4, 4))


def build(spec: DataSpec, settings: AlgorithmSettings, *, seed: int = 0) -> ActionableModel:
    torch.manual_seed(seed)
    return ActionableModel(spec, statistics_of(make_block(spec)), settings)


def spread_out(model: ActionableModel) -> None:
    """Larger, unequal weights in critic and target: at initialisation every Q is near one half and hides effects."""
    generator = torch.Generator().manual_seed(9)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.5


def loss_of(spec: DataSpec, settings: AlgorithmSettings, *, generator_seed: int = 0) -> Tensor:
    model = build(spec, settings)
    spread_out(model)
    batch = sample(make_block(spec), spec)
    return model.loss(batch, generator=torch.Generator().manual_seed(generator_seed)).loss.detach()


def with_critic(**changes: Any) -> AlgorithmSettings:
    base = CriticLossSettings(negative_uniform=4, negative_data=4, negative_perturbed=4)
    return AlgorithmSettings(model=SMALL, critic=replace(base, **changes))


@pytest.mark.parametrize(
    "change",
    [
        {"loss": "squared_error"},
        {"discount": 0.5},
        {"chained_end": "end_value"},
        {"chained_end": "self"},
        {"monte_carlo_bound": False},
        {"bootstrap": False},
        {"negative_ratio": 2.0},
        {"negative_ratio": 0.5},
        {"negative_ratio": 0.0},
        {"negative_weight": 0.3},
        {"negative_estimator": "expected"},
        {"negative_draws": 4},
        {"negative_temperature": 0.05},
        {"negative_score": "probability"},
        {"negative_uniform": 0},
        {"negative_data": 0},
        {"negative_perturbed": 0},
        {"perturbation_std": 1.5},
        {"perturbation_flip": 1.0},
        {"final_state_negatives": True},
        {"target_uniform": 0},
        {"target_data": 0},
        {"target_next_action": False, "target_data": 0, "target_uniform": 1},
        {"target_cem_iterations": 2},
    ],
    ids=lambda change: ",".join(f"{k}={v}" for k, v in change.items()),
)
def test_every_setting_of_the_loss_changes_it(state_spec: DataSpec, change: dict[str, Any]) -> None:
    assert loss_of(state_spec, with_critic(**change)) != loss_of(state_spec, with_critic())


@pytest.mark.parametrize("change", [{"proposal": "learned"}, {"layer_norm": False}, {"width": 8}, {"head_depth": 2}])
def test_every_setting_of_the_model_changes_the_loss(state_spec: DataSpec, change: dict[str, Any]) -> None:
    changed = replace(with_critic(), model=replace(SMALL, **change))
    assert loss_of(state_spec, changed) != loss_of(state_spec, with_critic())


@pytest.mark.parametrize("chained_end", ["end_value", "self"])
def test_an_episodes_last_transition_bootstraps_under_every_reading(state_spec: DataSpec, chained_end: str) -> None:
    batch = sample(make_block(state_spec), state_spec, size=256)

    def targets(kind: str) -> Tensor:
        model = build(state_spec, with_critic(chained_end=kind))
        spread_out(model)
        generator = torch.Generator().manual_seed(0)
        return model._target(model._prepared(batch, generator), generator).value

    ends = (batch.source == GoalSource.RANDOM) & batch.is_end
    assert (ends & batch.next_is_final).any()
    assert torch.equal(targets(chained_end) != targets("bootstrap"), ends & ~batch.next_is_final)


def test_without_bootstrapping_targets_are_what_the_data_achieved(state_spec: DataSpec) -> None:
    model = build(state_spec, with_critic(bootstrap=False, discount=0.9))
    spread_out(model)
    batch = sample(make_block(state_spec), state_spec, size=256)
    assert (batch.num_steps > 2).any()
    achieved = 0.9 ** (batch.num_steps - 1.0)
    expected = {
        GoalSource.HINDSIGHT: achieved,
        GoalSource.LINKED: achieved,
        GoalSource.SUCCESS: achieved,
        GoalSource.RANDOM: torch.zeros(256),
        GoalSource.FAILURE: torch.zeros(256),
    }
    assert set(expected) == set(GoalSource)
    for source, value in expected.items():
        of_source = replace(batch, source=torch.full_like(batch.source, int(source)))
        generator = torch.Generator().manual_seed(0)
        target = model._target(model._prepared(of_source, generator), generator)
        assert torch.allclose(target.value, value), source
    assert "critic/next_value_mean" not in model.loss(batch, generator=torch.Generator()).metrics


@pytest.mark.parametrize(
    "change", [{"monte_carlo_bound": False}, {"chained_end": "end_value"}, {"chained_end": "self"}]
)
def test_no_bootstrapping_needs_targets_that_do_not(change: dict[str, Any]) -> None:
    with pytest.raises(
        SettingsError, match=r"critic\.bootstrap: got false with .*Set both, or critic\.bootstrap: true"
    ):
        CriticLossSettings(bootstrap=False, **change)


def test_the_loss_is_reproduced_by_its_generator_alone(state_spec: DataSpec) -> None:
    torch.manual_seed(1)
    first = loss_of(state_spec, with_critic())
    torch.manual_seed(2)
    assert first == loss_of(state_spec, with_critic())
    assert first != loss_of(state_spec, with_critic(), generator_seed=1)


def test_negative_ratio_zero_means_no_negative_loss(state_spec: DataSpec) -> None:
    model = build(state_spec, with_critic(negative_ratio=0.0, final_state_negatives=True))
    result = model.loss(sample(make_block(state_spec), state_spec), generator=torch.Generator())
    assert result.metrics["critic/negative_loss"] == 0.0
    assert result.loss == result.metrics["critic/td_loss"]


def behavior_of(model: ActionableModel, batch: TransitionBatch[Tensor]) -> Tensor:
    density = model._behavior(batch.observation)
    assert density is not None
    return density.mean


@pytest.mark.parametrize("method", ["actionable_models", "task_critic"])
def test_the_behaviour_is_of_the_state_alone(image_spec: DataSpec, method: Any) -> None:
    settings = replace(with_critic(negative_behavior=4, cloning_weight=0.5), method=method)
    model = build(image_spec, settings)
    spread_out(model)
    batch = sample(make_block(image_spec), image_spec, chaining_ratio=0.0)
    before = behavior_of(model, batch)
    if model.critic.encoder.task is not None:
        next(model.critic.encoder.task.parameters()).data += 1.0
    assert torch.equal(before, behavior_of(model, batch))
    encoder, seen = model.critic.encoder, []
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    behavior_of(model, batch)
    ((state, goal),) = seen
    assert all(torch.equal(goal[name], state[name]) for name in image_spec.goal_indices)
    other_states = {name: state.flip(0) for name, state in batch.observation.items()}
    assert not torch.equal(before, behavior_of(model, replace(batch, observation=other_states)))


def test_the_behaviours_loss_is_of_every_transition_and_teaches_the_encoder(state_spec: DataSpec) -> None:
    """Those of random goals, too, which cloning leaves out; its draws are no way for the negatives' gradient."""
    settings = with_critic(negative_behavior=4, cloning_weight=0.5)
    model = build(state_spec, settings)
    spread_out(model)
    batch = sample(make_block(state_spec), state_spec, chaining_ratio=1.0)
    assert not leads_to_goal(batch.source).any()
    result = model.loss(batch, generator=torch.Generator().manual_seed(0))
    assert model.behavior_head is not None
    density, action = model._behavior(batch.observation), model.action_scale.to_unit(batch.action)
    assert density is not None
    expected = -density.log_prob(*model.behavior_head.split(action)).mean()
    torch.testing.assert_close(result.metrics["critic/behavior_loss"], expected.detach())
    others = sum(result.metrics[f"critic/{name}"] for name in ("td_loss", "negative_loss"))
    torch.testing.assert_close(result.loss.detach(), others + 0.5 * result.metrics["critic/behavior_loss"])
    parameters = list(model.behavior_head.parameters())
    by_all = torch.autograd.grad(result.loss, parameters)
    by_its_own = torch.autograd.grad(0.5 * expected, parameters, retain_graph=True)
    encoder = list(model.critic.encoder.parameters())
    assert any(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(expected, encoder))
    for one, other in zip(by_all, by_its_own, strict=True):
        torch.testing.assert_close(one, other)


def test_negatives_of_the_behaviour_need_a_loss_to_learn_it_by(state_spec: DataSpec) -> None:
    wanted = r"critic\.negative_behavior: got 4 with critic\.cloning_weight = 0; .* Set critic\.cloning_weight above 0"
    with pytest.raises(SettingsError, match=wanted):
        with_critic(negative_behavior=4)
    alone = {"negative_uniform": 0, "negative_data": 0, "negative_perturbed": 0, "cloning_weight": 0.1}
    with pytest.raises(SettingsError, match="negative_behavior = 0 with negative_ratio = 1; expected at least one"):
        with_critic(**alone)
    assert torch.isfinite(loss_of(state_spec, with_critic(**alone, negative_behavior=4, final_state_negatives=True)))


def test_negatives_of_a_last_state_are_of_what_the_data_do_there(
    state_spec: DataSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(state_spec, with_critic(negative_behavior=4, cloning_weight=0.1, final_state_negatives=True))
    batch, asked, own = sample(make_block(state_spec), state_spec), [], model._behavior

    def behavior(observation: Any) -> Any:
        asked.append(observation["state"])
        return own(observation)

    monkeypatch.setattr(model, "_behavior", behavior)
    model.loss(batch, generator=torch.Generator())
    assert [
        torch.equal(a, b)
        for a, b in zip(asked, (batch.observation["state"], batch.next_observation["state"]), strict=True)
    ] == [True, True]


@pytest.mark.parametrize("critic", [{"negative_behavior": 4, "cloning_weight": 0.1}, {}], ids=str)
def test_an_infinite_state_gives_a_loss_and_no_error(state_spec: DataSpec, critic: dict[str, Any]) -> None:
    """The learner skips an update whose loss or gradient is not finite; a draw that raises would end the training."""
    model = build(state_spec, with_critic(**critic))
    for parameter in model.parameters():
        parameter.data.fill_(float("inf"))
    loss = model.loss(sample(make_block(state_spec), state_spec), generator=torch.Generator()).loss
    assert not torch.isfinite(loss)


def test_without_negatives_there_is_no_behaviour_to_learn(state_spec: DataSpec) -> None:
    model = build(state_spec, with_critic(negative_behavior=4, cloning_weight=0.1, negative_ratio=0.0))
    assert model.behavior_head is None


def test_gradients_reach_every_trained_weight_and_no_averaged_one(state_spec: DataSpec) -> None:
    settings = with_critic(negative_behavior=4, cloning_weight=0.1)
    settings = replace(settings, model=replace(SMALL, proposal="learned"))
    model = build(state_spec, settings)
    model.loss(sample(make_block(state_spec), state_spec), generator=torch.Generator()).loss.backward()
    trained = {id(p) for p in model.trainable_parameters()}
    for name, parameter in model.named_parameters():
        is_average = name.startswith(("target_critic", "acting_critic", "acting_proposal"))
        assert (id(parameter) in trained) != is_average, name
        assert (parameter.grad is None) == is_average, name


def test_averages_move_at_their_own_rates(state_spec: DataSpec) -> None:
    rates = OptimizationSettings(target_update_rate=0.5, acting_average_rate=0.25)
    model = build(state_spec, replace(with_critic(), optimization=rates))
    before = model.critic.logit.bias.detach().clone()
    with torch.no_grad():
        model.critic.logit.bias += 1.0
    model.update_averages()
    assert (model.target_critic.logit.bias - before).item() == pytest.approx(0.5)
    assert (model.acting_critic.logit.bias - before).item() == pytest.approx(0.25)


def test_equal_rates_share_one_copy(state_spec: DataSpec) -> None:
    rates = OptimizationSettings(target_update_rate=0.1, acting_average_rate=0.1)
    model = build(state_spec, replace(with_critic(), optimization=rates))
    assert model.acting_critic is model.target_critic


def test_scores_taken_in_pieces_are_those_of_the_whole(state_spec: DataSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(state_spec, with_critic())
    features, actions = torch.randn(10, 16), torch.rand(10, 7, state_spec.action_dim) * 2.0 - 1.0
    whole = model.critic.score(features, actions)
    taken: list[int] = []
    score = model.critic._score
    monkeypatch.setattr(model.critic, "_score", lambda f, a: taken.append(len(a)) or score(f, a))
    monkeypatch.setattr("am_ray.models.critic._BYTES_AT_ONCE", 3 * 4 * 7 * 16)
    with torch.no_grad():
        torch.testing.assert_close(model.critic.score(features, actions), whole)
    assert taken == [3, 3, 3, 1]
    taken.clear()
    model.critic.score(features, actions)
    assert taken == [10]  # with gradients


def test_actions_are_scaled_to_the_unit_box(state_spec: DataSpec) -> None:
    model = build(state_spec, with_critic())
    unit = model.action_scale.to_unit(torch.tensor([[2.0, -1.0]]))
    assert unit.tolist() == [[1.0, -0.5]]
    assert model.action_scale.from_unit(unit).tolist() == [[2.0, -1.0]]


def test_image_shift_changes_the_loss_and_goal_images_are_used(image_spec: DataSpec) -> None:
    without = replace(with_critic(), model=replace(SMALL, image_shift=0))
    assert loss_of(image_spec, with_critic()) != loss_of(image_spec, without)
    model = build(image_spec, without)
    batch = sample(make_block(image_spec), image_spec)
    with torch.no_grad():
        features = model.critic.encode(batch.observation, batch.goal)
        black = {"front": torch.zeros_like(batch.goal["front"])}
        assert not torch.allclose(features, model.critic.encode(batch.observation, black))


def test_cloning_ignores_random_goals(state_spec: DataSpec) -> None:
    torch.manual_seed(0)
    settings = AlgorithmSettings(method="behavior_cloning", model=SMALL)
    model = BehaviorCloning(state_spec, statistics_of(make_block(state_spec)), settings)
    batch = sample(make_block(state_spec), state_spec)
    chained = batch.source == GoalSource.RANDOM
    elsewhere = {"state": torch.where(chained.unsqueeze(1), batch.goal["state"] + 5.0, batch.goal["state"])}
    first = model.loss(batch, generator=torch.Generator()).loss
    assert first == model.loss(replace(batch, goal=elsewhere), generator=torch.Generator()).loss
