"""What critic and cloning make of a goal that another episode came to (`am_ray.core.chaining`)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from am_ray.models.actionable_model import ActionableModel
from am_ray.models.behavior_cloning import BehaviorCloning
from am_ray.settings import AlgorithmSettings, CriticLossSettings, ModelSettings, RelabelSettings
from am_ray.types import DataSpec, GoalSource, TransitionBatch
from tests.models.conftest import make_block, sample, statistics_of

SMALL = ModelSettings(width=16, depth=1, head_width=16, head_depth=1)


def batch_of(spec: DataSpec, source: GoalSource) -> TransitionBatch[Tensor]:
    """The same transitions, their goals of this source and three steps away."""
    batch = sample(make_block(spec), spec, chaining_ratio=0.0)
    everywhere = torch.full_like(batch.source, int(source))
    return replace(
        batch, source=everywhere, is_end=torch.zeros_like(batch.is_end), num_steps=torch.full_like(batch.num_steps, 3)
    )


def critic(spec: DataSpec) -> ActionableModel:
    torch.manual_seed(0)
    settings = AlgorithmSettings(model=SMALL, critic=CriticLossSettings(discount=0.9))
    return ActionableModel(spec, statistics_of(make_block(spec)), settings)


def test_its_target_is_the_bootstrap_or_what_both_pieces_achieved(state_spec: DataSpec) -> None:
    model = critic(state_spec)

    def targets(source: GoalSource) -> Tensor:
        batch = batch_of(state_spec, source)
        generator = torch.Generator().manual_seed(0)
        return model._target(model._prepared(batch, generator), generator).value

    bootstrap = targets(GoalSource.RANDOM)
    assert bootstrap.min() < 0.81
    torch.testing.assert_close(targets(GoalSource.LINKED), bootstrap.clamp_min(0.9**2))


def test_it_counts_as_chained_in_the_metrics(state_spec: DataSpec) -> None:
    metrics = critic(state_spec).loss(batch_of(state_spec, GoalSource.LINKED), generator=torch.Generator()).metrics
    assert metrics["data/chained_share"] == 1.0
    assert metrics["critic/q_chained_mean"] > 0.0
    assert metrics["critic/q_hindsight_mean"] == 0.0


def test_cloning_learns_from_it_as_from_hindsight(state_spec: DataSpec) -> None:
    settings = AlgorithmSettings(method="behavior_cloning", model=SMALL)
    model = BehaviorCloning(state_spec, statistics_of(make_block(state_spec)), settings)
    hindsight, linked, random = (
        model.loss(batch_of(state_spec, source), generator=torch.Generator()).loss
        for source in (GoalSource.HINDSIGHT, GoalSource.LINKED, GoalSource.RANDOM)
    )
    assert linked == hindsight != 0.0
    assert random == 0.0


@pytest.mark.parametrize(("neighbors", "ratio"), [(0, 0.0), (2, 0.3)])
def test_cloning_is_given_linked_goals_and_no_random_ones(neighbors: int, ratio: float) -> None:
    asked = RelabelSettings(chaining_ratio=0.3, chaining_window=1, chaining_neighbors=neighbors, past_share=0.5)
    ours, cloning = (
        AlgorithmSettings(method=method, relabel=asked).drawn_goals
        for method in ("actionable_models", "behavior_cloning")
    )
    assert ours == asked
    assert cloning == replace(asked, chaining_ratio=ratio, past_share=0.0)
