"""One gradient step: what it does, what it refuses, and that it can be taken up anywhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns

from am_ray.algorithm.learner import NonFiniteTrainingError, ObjectiveLearner, to_device, update_seed
from am_ray.algorithm.offline_data import DatasetShards
from am_ray.core.updates import step_if_finite
from am_ray.models.checkpoint import TrainingState
from am_ray.models.policy import GoalConditionedPolicy, build_model
from am_ray.types import CheckpointError, SettingsError, TransitionBatch

from .conftest import Disturbed, build_learner, tiny_config, train, write_point_world


def source_for(dataset: str, spoil: dict[int, Any] | None = None, **settings: Any) -> Disturbed:
    return Disturbed(DatasetShards(tiny_config(dataset, **settings)).sample(1)[0], spoil or {})


def assert_same(one: TrainingState, other: TrainingState) -> None:
    for mine, theirs in ((one.weights, other.weights), (one.optimizer, other.optimizer)):
        assert mine.keys() == theirs.keys()
        assert [name for name in mine if mine[name].tobytes() != theirs[name].tobytes()] == []


@pytest.mark.parametrize("emulated", [True, False])
def test_a_format_that_the_processor_has_not_is_warned_of(
    point_world: str, emulated: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: not emulated)
    with caplog.at_level("WARNING", logger="am_ray"):
        build_learner(point_world, precision="bfloat16")
    assert ("got bfloat16 on a processor without it" in caplog.text) is emulated


def test_updates_are_those_of_a_bare_loop(point_world: str) -> None:
    """RLlib adds nothing: the same weights, bit for bit, as ten lines of torch."""
    learner = build_learner(point_world)
    source = source_for(point_world)
    train(learner, source, 7)

    config = tiny_config(point_world)
    facts = config.get_default_rl_module_spec().model_config
    torch.manual_seed(3)
    model = build_model(facts["spec"], facts["statistics"], facts["settings"])
    parameters = model.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=0.0, fused=True)
    batches = source.source.batches(0)
    for update in range(7):
        columns = next(batches)
        batch = TransitionBatch.from_columns(
            {k: {n: torch.from_numpy(x) for n, x in v.items()} if isinstance(v, dict) else torch.from_numpy(v)
             for k, v in columns.items()}
        )  # fmt: skip
        optimizer.zero_grad()
        model.loss(batch, generator=torch.Generator().manual_seed(update_seed(3, 0, update))).loss.backward()
        step_if_finite(optimizer, parameters, max_gradient_norm=10.0)
        model.update_averages()
    expected = model.state_dict()
    found = learner.training_state()
    assert found.update == 7
    assert found.weights.keys() == expected.keys()
    assert all(found.weights[name].tobytes() == value.numpy().tobytes() for name, value in expected.items())


@pytest.mark.parametrize("stops", [(2, 2), (1, 1, 2)])
def test_training_can_be_cut_anywhere(point_world: str, stops: tuple[int, ...]) -> None:
    whole = build_learner(point_world)
    train(whole, source_for(point_world), 4)
    state = None
    for updates in stops:
        part = build_learner(point_world)
        if state is not None:
            part.load_training_state(state, "here")
        source = source_for(point_world)
        train(part, source, updates)
        assert source.started_at == [0 if state is None else state.update]
        state = part.training_state()
    assert state is not None
    assert state.update == 4
    assert_same(whole.training_state(), state)


def _spoil(column: str, value: float) -> Callable[[dict[str, Any]], None]:
    def spoil(columns: dict[str, Any]) -> None:
        array = columns[column]
        array = array["state"] if isinstance(array, dict) else array
        array[3, 0] = value

    return spoil


COLUMNS = ("observation", "next_observation", "goal", "action", "next_action")
CASES = [(column, value) for column in COLUMNS for value in (np.nan, np.inf, -np.inf)]


def test_a_batch_that_is_not_finite_changes_nothing(point_world: str) -> None:
    """Whatever is spoilt, the update is skipped, and the next good one is taken."""
    learner = build_learner(point_world, proposal="learned")
    spoil = {2 * number + 1: _spoil(*case) for number, case in enumerate(CASES)}
    source = source_for(point_world, spoil, proposal="learned")
    for number, case in enumerate(CASES):
        previous = learner.training_state()
        train(learner, source, 1)
        before = learner.training_state()
        assert before.weights["critic.logit.weight"].tobytes() != previous.weights["critic.logit.weight"].tobytes()
        assert before.skipped_in_a_row == 0
        result = train(learner, source, 1)
        after = learner.training_state()
        assert_same(before, after)
        assert (after.update, after.skipped_updates, after.skipped_in_a_row) == (2 * number + 2, number + 1, 1), case
        assert float(result["train"]["skipped_updates"]) == number + 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_or_loss_that_is_not_finite_changes_nothing(point_world: str, value: float) -> None:
    learner, source = build_learner(point_world), source_for(point_world)
    train(learner, source, 2)
    before = learner.training_state()
    hook = learner._parameters[0].register_hook(lambda gradient: gradient * value)
    train(learner, source, 1)
    hook.remove()
    loss = learner._objective.loss
    learner._objective.loss = lambda *a, **k: dataclasses.replace(loss(*a, **k), loss=loss(*a, **k).loss + value)
    train(learner, source, 1)
    after = learner.training_state()
    assert_same(before, after)
    assert after.skipped_in_a_row == 2


def test_too_many_skips_in_a_row_stop_training(point_world: str) -> None:
    spoil = {update: _spoil("action", np.nan) for update in (1, 2, 4, 5, 6)}
    learner, source = build_learner(point_world, max_skipped_updates=3), source_for(point_world, spoil)
    train(learner, source, 6)
    with pytest.raises(NonFiniteTrainingError, match=r"update 7: .* 3 updates in a row"):
        train(learner, source, 1)


def test_the_learning_rate_is_that_of_the_settings_from_the_first_update_on(point_world: str) -> None:
    """RLlib restores the optimizer's old rate and keeps it for a whole iteration."""
    fast, slow, source = build_learner(point_world, lr=0.5), build_learner(point_world, lr=0.0), source_for(point_world)
    train(fast, source, 1)
    slow.set_state(fast.get_state())
    before = slow.training_state()
    assert slow._optimizer.param_groups[0]["lr"] == 0.5
    train(slow, source_for(point_world), 1)
    after = slow.training_state()
    assert after.weights["critic.logit.weight"].tobytes() == before.weights["critic.logit.weight"].tobytes()


def test_the_rate_falls_to_zero_over_the_last_share_of_the_updates(point_world: str) -> None:
    """And is a function of the counter: a rolled back learner uses the same rates again."""
    learner = build_learner(point_world, lr=0.1, decay_share=0.5, max_updates=4)
    source, saved = source_for(point_world), learner.training_state()
    rates = [float(train(learner, source, 1)["train"]["learning_rate"]) for _ in range(4)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05])
    last = learner.training_state()
    learner.load_training_state(saved, "here")
    train(learner, source, 4)
    assert_same(last, learner.training_state())


def test_a_live_learner_can_be_rolled_back(point_world: str) -> None:
    """RLlib's set_state keeps the newer weights; ours restores weights, optimizer, counters and data position."""
    learner, source = build_learner(point_world), source_for(point_world)
    train(learner, source, 2)
    saved, rllib_state = learner.training_state(), learner.get_state()
    train(learner, source, 2)
    expected = learner.training_state()
    for restore in (lambda: learner.set_state(rllib_state), lambda: learner.load_training_state(saved, "here")):
        restore()
        assert_same(saved, learner.training_state())
        train(learner, source, 2)
        assert_same(expected, learner.training_state())
    assert source.started_at == [0, 2, 2]


def test_a_state_of_another_network_is_refused(point_world: str) -> None:
    other = build_learner(point_world, width=9)
    train(other, source_for(point_world), 1)
    learner = build_learner(point_world)
    with pytest.raises(CheckpointError, match=r"here: .* weights do not fit"):
        learner.load_training_state(other.training_state(), "here")
    mixed = dataclasses.replace(learner.training_state(), optimizer=other.training_state().optimizer)
    with pytest.raises(CheckpointError, match=r"here: the optimizer's state"):
        learner.load_training_state(mixed, "here")


def test_a_gpu_that_is_not_there_is_an_error_of_ours(point_world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny_config(point_world).learners(num_gpus_per_learner=1)
    learner = ObjectiveLearner(config=config, module_spec=config.get_multi_rl_module_spec())
    with pytest.raises(SettingsError, match=r"num_gpus_per_learner: got 1; torch sees no GPU"):
        learner.build()


def test_images_stay_bytes_up_to_the_network(tmp_path: Path) -> None:
    dataset = write_point_world(tmp_path / "images", episodes=4, camera=(8, 8, 3))
    learner, seen = build_learner(dataset), []
    loss = learner._objective.loss
    learner._objective.loss = lambda batch, **kwargs: seen.append(batch) or loss(batch, **kwargs)
    source = source_for(dataset)
    train(learner, source, 2)
    raw = next(source.source.batches(1))
    for name in ("observation", "next_observation", "goal"):
        assert getattr(seen[1], name)["front"].dtype == torch.uint8
        assert np.array_equal(getattr(seen[1], name)["front"].numpy(), raw[name]["front"])
    assert learner.training_state().skipped_updates == 0


def test_read_only_batches_are_looked_at_and_never_written(tmp_path: Path) -> None:
    dataset = write_point_world(tmp_path / "images", episodes=4, camera=(8, 8, 3))
    batch = next(source_for(dataset).source.batches(0))
    arrays = [a for v in batch.values() for a in (v.values() if isinstance(v, dict) else [v])]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    assert np.shares_memory(to_device(batch, torch.device("cpu"))["action"].numpy(), batch["action"])
    build_learner(dataset)._uncompiled_update(batch)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_weights_begin_as_the_seed_says(point_world: str) -> None:
    torch.manual_seed(0)
    one = build_learner(point_world).training_state()
    torch.manual_seed(1)
    assert_same(one, build_learner(point_world).training_state())
    config = tiny_config(point_world).debugging(seed=4)
    other = ObjectiveLearner(config=config, module_spec=config.get_multi_rl_module_spec())
    other.build()
    assert (
        other.training_state().weights["critic.logit.weight"].tobytes() != one.weights["critic.logit.weight"].tobytes()
    )


def test_generators_differ_by_seed_learner_and_update() -> None:
    seeds = {update_seed(s, r, u) for s in range(5) for r in range(4) for u in range(200)}
    assert len(seeds) == 5 * 4 * 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert update_seed(1, 2, 3) == 6520558355739401531


def test_metrics_are_means_over_sampled_updates(point_world: str) -> None:
    learner = build_learner(point_world, batch_size=512)
    metrics = train(learner, source_for(point_world, batch_size=512), 20)
    assert float(metrics["data"]["chained_share"]) == pytest.approx(0.5, abs=0.06)
    assert set(metrics["train"]) == {"loss", "gradient_norm", "skipped_updates", "learning_rate"}


def test_the_module_acts_greedily_for_rllib(point_world: str) -> None:
    learner = build_learner(point_world)
    rng = np.random.default_rng(0)
    states, goals = rng.normal(size=(5, 2)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
    observation = {
        "observation": {"state": torch.from_numpy(states)},
        "desired_goal": {"state": torch.from_numpy(goals)},
    }
    module = learner.module[DEFAULT_MODULE_ID]
    found = module.forward_inference({Columns.OBS: observation})[Columns.ACTIONS].numpy()
    assert np.array_equal(found, GoalConditionedPolicy(learner._objective, seed=3).act(states, goals))
    explored = module.forward_exploration({Columns.OBS: observation})[Columns.ACTIONS]
    assert torch.all(explored.abs() <= 1.0)
