"""Settings of the search, the networks and cloning: changing one changes the action or the loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from am_ray.models.actionable_model import ActionableModel
from am_ray.models.behavior_cloning import BehaviorCloning
from am_ray.models.policy import GoalConditionedPolicy
from am_ray.settings import (
    AlgorithmSettings,
    CemSettings,
    CloningSettings,
    CriticLossSettings,
    ModelSettings,
    RelabelSettings,
)
from am_ray.types import DataSpec, SettingsError
from tests.models.conftest import make_block, sample, statistics_of

SMALL = ModelSettings(width=16, depth=1, head_width=16, head_depth=1, image_channels=(4, 4))
CEM = CemSettings(num_samples=16, num_iterations=3, num_elites=4, data_share=0.5, min_std=0.05)


def model_of(spec: DataSpec, settings: AlgorithmSettings) -> ActionableModel | BehaviorCloning:
    """A network whose weights are spread out: at initialisation every Q is near one half and hides effects."""
    torch.manual_seed(0)
    build = BehaviorCloning if settings.method == "behavior_cloning" else ActionableModel
    model = build(spec, statistics_of(make_block(spec)), settings)
    generator = torch.Generator().manual_seed(9)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
    return model


def loss_of(spec: DataSpec, settings: AlgorithmSettings) -> Tensor:
    batch = sample(make_block(spec), spec)
    return model_of(spec, settings).loss(batch, generator=torch.Generator().manual_seed(0)).loss.detach()


def actions_of(spec: DataSpec, settings: AlgorithmSettings) -> Tensor:
    model, batch = model_of(spec, settings), sample(make_block(spec), spec)
    assert isinstance(model, ActionableModel)
    return model.best_action(batch.observation, batch.goal, generator=torch.Generator().manual_seed(0)).action


@pytest.mark.parametrize(
    "change",
    [{"num_samples": 17}, {"num_iterations": 4}, {"num_elites": 5}, {"data_share": 0.0}, {"min_std": 0.5}],
    ids=str,
)
def test_every_setting_of_the_search_changes_the_action(state_spec: DataSpec, change: dict[str, Any]) -> None:
    settings = AlgorithmSettings(model=SMALL, cem=CEM)
    plain = actions_of(state_spec, settings)
    assert torch.equal(plain, actions_of(state_spec, settings))
    assert not torch.equal(plain, actions_of(state_spec, replace(settings, cem=replace(CEM, **change))))


def test_uniform_actions_of_two_valued_entries_change_the_loss_and_the_action(state_spec: DataSpec) -> None:
    plain = AlgorithmSettings(model=SMALL, cem=CEM, cloning=CloningSettings(binary_entries=(-1,)))
    # Uniform candidates of one purpose alone, so that each is seen to change the loss.
    negatives = replace(plain.critic, target_uniform=0)
    targets = replace(plain.critic, negative_uniform=0)
    for critic in (negatives, targets):
        changed = replace(plain, critic=replace(critic, binary_uniform=True))
        assert loss_of(state_spec, changed) != loss_of(state_spec, replace(plain, critic=critic))
    # A search of one round without actions of the data takes one of its uniform ones.
    once = replace(CEM, num_iterations=1, data_share=0.0)
    searched = replace(plain, cem=once, critic=replace(plain.critic, binary_uniform=True))
    assert (actions_of(state_spec, searched)[:, -1].abs() == 1.0).all()
    assert (actions_of(state_spec, replace(plain, cem=once))[:, -1].abs() < 1.0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"width": 8},
        {"depth": 2},
        {"head_width": 8},
        {"head_depth": 2},
        {"layer_norm": False},
        {"goal_difference": False},
        {"image_channels": (4, 8)},
        {"image_blocks": 1},
        {"image_shift": 0},
        {"mirror_action": (0,)},
        {"proposal_samples": 3},
        {"proposal": "none"},
    ],
    ids=str,
)
def test_every_setting_of_the_networks_changes_the_loss(image_spec: DataSpec, change: dict[str, Any]) -> None:
    settings = AlgorithmSettings(model=replace(SMALL, proposal="learned"))
    changed = replace(settings, model=replace(settings.model, **change))
    assert loss_of(image_spec, changed) != loss_of(image_spec, settings)


@pytest.mark.parametrize(
    "change", [{"goal_difference": False}, {"entity_slots": ()}, {"entity_slots": (0, 1)}, {"entity_width": 8}], ids=str
)
@pytest.mark.parametrize("method", ["behavior_cloning", "actionable_models"])
def test_every_setting_of_vectors_changes_the_loss(vector_spec: DataSpec, change: dict[str, Any], method: Any) -> None:
    model = replace(SMALL, goal_difference=True, entity_slots=(1, 2), entity_width=16)
    settings = AlgorithmSettings(method=method, model=model)
    changed = replace(settings, model=replace(model, **change))
    assert loss_of(vector_spec, changed) != loss_of(vector_spec, settings)


@pytest.mark.parametrize(
    "change",
    [{"stay_share": 0.0}, {"stay_entries": (1,)}, {"goal_jitter": 0.5}, {"goal_jitter_entries": (1,)}],
    ids=str,
)
@pytest.mark.parametrize("method", ["behavior_cloning", "actionable_models"])
def test_every_setting_of_what_is_shown_changes_the_loss(
    state_spec: DataSpec, change: dict[str, Any], method: Any
) -> None:
    relabel = RelabelSettings(stay_share=0.5, stay_entries=(0,), goal_jitter=0.1, goal_jitter_entries=(0,))
    settings = AlgorithmSettings(method=method, model=SMALL, relabel=relabel)
    changed = replace(settings, relabel=replace(relabel, **change))
    assert loss_of(state_spec, changed) != loss_of(state_spec, settings)


@pytest.mark.parametrize("change", [{"num_components": 2}, {"min_std": 0.5}, {"binary_entries": (-1,)}], ids=str)
@pytest.mark.parametrize("method", ["behavior_cloning", "actionable_models"])
def test_every_setting_of_cloning_changes_the_loss(state_spec: DataSpec, change: dict[str, Any], method: Any) -> None:
    settings = AlgorithmSettings(method=method, model=replace(SMALL, proposal="learned"))
    changed = replace(settings, cloning=CloningSettings(**change))
    assert loss_of(state_spec, changed) != loss_of(state_spec, settings)


def test_the_auxiliary_cloning_loss_teaches_the_critics_encoder(state_spec: DataSpec) -> None:
    plain = AlgorithmSettings(model=SMALL)
    settings = replace(plain, critic=replace(plain.critic, cloning_weight=2.0))
    batch = sample(make_block(state_spec), state_spec, chaining_ratio=0.0)

    def gradient(settings: AlgorithmSettings) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        model = model_of(state_spec, settings)
        assert isinstance(model, ActionableModel)
        out = model.loss(batch, generator=torch.Generator().manual_seed(0))
        out.loss.backward()
        weight = next(model.critic.encoder.parameters())
        assert weight.grad is not None
        return out.loss.detach(), weight.grad, out.metrics

    loss, encoder_gradient, _ = gradient(plain)
    total, changed_gradient, metrics = gradient(settings)
    torch.testing.assert_close(total, loss + 2.0 * metrics["critic/cloning_loss"])
    assert not torch.allclose(encoder_gradient, changed_gradient)


@pytest.mark.parametrize("likely_samples", [16, 64])
def test_acting_likely_takes_the_mean_of_the_best_quarter_of_what_the_head_draws(
    state_spec: DataSpec, likely_samples: int
) -> None:
    plain = AlgorithmSettings(model=SMALL, cloning=CloningSettings(binary_entries=(-1,)))
    plain = replace(plain, critic=replace(plain.critic, cloning_weight=0.1))
    settings = replace(plain, critic=replace(plain.critic, acting="likely", likely_samples=likely_samples))
    model, batch = model_of(state_spec, settings), sample(make_block(state_spec), state_spec)
    assert isinstance(model, ActionableModel) and model.acting_cloning_head is not None
    found = model.best_action(batch.observation, batch.goal, generator=torch.Generator().manual_seed(3))

    critic, head = model.acting_critic, model.acting_cloning_head
    density = head.density(critic.encoder(batch.observation, batch.goal))
    drawn = density.sample(likely_samples, generator=torch.Generator().manual_seed(3))
    features = critic.encode(batch.observation, batch.goal)
    for row, scores in enumerate(critic.score(features, head.join(*drawn))):
        best = scores.argsort(descending=True)[: likely_samples // 4]
        torch.testing.assert_close(found.action[row, :-1], drawn[0][row, best].mean(dim=0))
        assert found.action[row, -1] == (1.0 if drawn[1][row, best].sum() >= 0 else -1.0)
    values = torch.sigmoid(critic.score(features, found.action.unsqueeze(1)).squeeze(1))
    torch.testing.assert_close(found.score, values)
    by_cem = model_of(state_spec, plain)
    assert isinstance(by_cem, ActionableModel) and by_cem.acting_cloning_head is None


def test_acting_drawn_takes_two_valued_entries_as_the_head_draws_them_unless_they_are_worth_less_than_half(
    state_spec: DataSpec,
) -> None:
    plain = AlgorithmSettings(model=SMALL, cloning=CloningSettings(binary_entries=(-1,)))
    settings = replace(plain, critic=replace(plain.critic, cloning_weight=0.1, acting="drawn"))
    model, batch = model_of(state_spec, settings), sample(make_block(state_spec), state_spec, size=512)
    assert isinstance(model, ActionableModel) and model.acting_cloning_head is not None
    critic, head = model.acting_critic, model.acting_cloning_head
    encoded = critic.encoder(batch.observation, batch.goal)
    with torch.no_grad():
        head.out.bias[-1] += -1.1 - head.density(encoded).binary_logits.mean()  # a closed gripper in one of four

    def score(
        features: Tensor, actions: Tensor
    ) -> Tensor:  # from state to state a gripper's sign is worth more or less
        return (
            actions[..., 0]
            + 2.0 * (features[:, :1] - features[:, :1].mean()) / features[:, 0].std() * actions[..., -1]
            - 2.0
        )

    critic.score = score  # type: ignore[method-assign]
    found = model.best_action(batch.observation, batch.goal, generator=torch.Generator().manual_seed(3))

    density, features = head.density(encoded), critic.project(encoded)
    continuous, binary = density.sample(32, generator=torch.Generator().manual_seed(3))
    candidates = [torch.cat([continuous, signs], dim=2) for signs in (binary[:, :1].expand_as(binary), binary)]
    means = []
    for actions in candidates:
        best = critic.score(features, actions).argsort(dim=1, descending=True)[:, :8]
        mean = torch.stack([actions[row, best[row]].mean(dim=0) for row in range(512)])
        mean[:, -1] = torch.where(mean[:, -1] < 0.0, -1.0, 1.0)
        means.append(mean)
    values = [torch.sigmoid(critic.score(features, mean.unsqueeze(1)).squeeze(1)) for mean in means]
    is_worth = values[0] >= 0.5 * values[1]
    torch.testing.assert_close(found.action, torch.where(is_worth.unsqueeze(1), *means))
    torch.testing.assert_close(found.score, torch.where(is_worth, *values))
    other = means[0][:, -1] != means[1][:, -1]
    assert (other & is_worth).sum() > 20 and (other & ~is_worth).sum() > 20
    share = torch.sigmoid(density.binary_logits).mean()
    assert 0.15 < share < 0.35 and abs((means[0][:, -1] > 0).float().mean() - share) < 0.06


def test_acting_cloned_is_the_mean_of_the_heads_density_and_a_policy_can_act_otherwise_than_it_was_trained_to(
    state_spec: DataSpec,
) -> None:
    plain = AlgorithmSettings(model=SMALL, cloning=CloningSettings(binary_entries=(-1,)))
    plain = replace(plain, critic=replace(plain.critic, cloning_weight=0.1))
    batch = sample(make_block(state_spec), state_spec)

    def actions(trained: Any, acting: Any = None) -> Tensor:
        model = model_of(state_spec, replace(plain, critic=replace(plain.critic, acting=trained)))
        assert isinstance(model, ActionableModel)
        if acting is not None:
            model.act_by(acting)
        return model.best_action(batch.observation, batch.goal, generator=torch.Generator().manual_seed(3)).action

    model = model_of(state_spec, replace(plain, critic=replace(plain.critic, acting="cloned")))
    assert isinstance(model, ActionableModel) and model.acting_cloning_head is not None
    head = model.acting_cloning_head
    density = head.density(model.acting_critic.encoder(batch.observation, batch.goal))
    assert torch.equal(actions("cloned"), head.join(*density.expected()))
    _, binary = density.sample(1, generator=torch.Generator().manual_seed(3))
    assert torch.equal(actions("cloned_drawn"), head.join(density.expected()[0], binary[:, 0]))
    assert not torch.equal(actions("cloned_drawn"), actions("cloned"))
    assert torch.equal(actions("likely", "cloned"), actions("cloned"))
    assert torch.equal(actions("likely", "cem"), actions("cem"))
    assert torch.equal(actions("cloned", "likely"), actions("likely"))
    assert not torch.equal(actions("likely"), actions("cloned"))
    with pytest.raises(SettingsError, match=r"acting: got likely for a model trained .* cem"):
        actions("cem", "likely")
    with pytest.raises(
        SettingsError, match="acting: got 'mean'; expected one of cem, likely, drawn, cloned, cloned_drawn"
    ):
        actions("likely", "mean")


def test_the_head_that_acts_is_an_average_of_the_one_that_learns(state_spec: DataSpec) -> None:
    settings = AlgorithmSettings(model=SMALL)
    settings = replace(settings, critic=replace(settings.critic, cloning_weight=0.1, acting="likely"))
    model = model_of(state_spec, settings)
    assert isinstance(model, ActionableModel) and model.cloning_head and model.acting_cloning_head
    assert not any(p.requires_grad for p in model.acting_cloning_head.parameters())
    before = model.acting_cloning_head.out.weight.clone()
    model.update_averages()
    rate = settings.optimization.acting_average_rate
    expected = (1.0 - rate) * before + rate * model.cloning_head.out.weight
    torch.testing.assert_close(model.acting_cloning_head.out.weight, expected)


def test_a_cloned_policy_cannot_act_by_a_critic(state_spec: DataSpec) -> None:
    policy = GoalConditionedPolicy(model_of(state_spec, AlgorithmSettings(method="behavior_cloning", model=SMALL)))
    with pytest.raises(
        SettingsError, match=r"acting: got cem for a policy of method behavior_cloning; .* mode, mean, drawn"
    ):
        policy.act_by("cem")
    with pytest.raises(SettingsError, match=r"cloning\.act: got drawn without cloning\.binary_entries; .* Name them"):
        policy.act_by("drawn")


@pytest.mark.parametrize("method", ["actionable_models", "task_critic"])
@pytest.mark.parametrize("acting", ["likely", "drawn", "cloned", "cloned_drawn"])
def test_acting_by_a_cloning_head_that_there_is_not_is_refused(method: Any, acting: Any) -> None:
    with pytest.raises(SettingsError, match=f"critic.acting: got {acting} .* Set critic.cloning_weight above 0"):
        AlgorithmSettings(method=method, critic=CriticLossSettings(acting=acting))


def test_drawing_two_valued_entries_of_which_there_are_none_is_refused(state_spec: DataSpec) -> None:
    with pytest.raises(SettingsError, match=r"critic\.binary_uniform: got true without .*; .* Name them"):
        AlgorithmSettings(critic=CriticLossSettings(binary_uniform=True))
    with pytest.raises(SettingsError, match=r"critic\.acting: got drawn without cloning\.binary_entries; .* Name them"):
        AlgorithmSettings(critic=CriticLossSettings(acting="drawn", cloning_weight=0.1))
    model = model_of(
        state_spec, AlgorithmSettings(model=SMALL, critic=CriticLossSettings(acting="likely", cloning_weight=0.1))
    )
    assert isinstance(model, ActionableModel)
    with pytest.raises(SettingsError, match=r"acting: got drawn for a model .* Choose likely"):
        model.act_by("drawn")


@pytest.mark.parametrize("act", ["mode", "mean", "drawn"])
def test_act_decides_what_cloning_does_of_its_density(state_spec: DataSpec, act: Any) -> None:
    settings = AlgorithmSettings(
        method="behavior_cloning", model=SMALL, cloning=CloningSettings(act=act, binary_entries=(-1,))
    )
    model, batch = model_of(state_spec, settings), sample(make_block(state_spec), state_spec)
    assert isinstance(model, BehaviorCloning)
    density = model.acting_network(batch.observation, batch.goal)
    mode, mean = (model.acting_network.join(*entries) for entries in (density.mode(), density.expected()))
    assert not torch.equal(mode, mean)

    def acted() -> Tensor:
        draws = [
            model.best_action(batch.observation, batch.goal, generator=torch.Generator().manual_seed(seed))
            for seed in range(200)
        ]
        return torch.stack(draws)

    found = acted()
    if act == "drawn":
        assert torch.equal(found[..., :-1], mean[..., :-1].expand_as(found[..., :-1]))
        share = (found[..., -1] > 0).float().mean(dim=0)
        torch.testing.assert_close(share, torch.sigmoid(density.binary_logits)[:, 0], atol=0.15, rtol=0.0)
    else:
        assert torch.equal(found, (mode if act == "mode" else mean).expand_as(found))
    for other, expected in (("mode", mode), ("mean", mean)):
        model.act_by(other)  # type: ignore[arg-type]
        assert torch.equal(acted()[0], expected)
