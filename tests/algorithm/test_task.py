"""Fine-tuning through RLlib: where the weights start, what each setting of a task changes, exact resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.algorithm.config import ActionableModelsConfig
from am_ray.data.writer import write_dataset
from am_ray.models.checkpoint import load_policy, read_checkpoint
from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import apply_overrides
from am_ray.types import CheckpointError, Trajectory

from .conftest import TINY, write_point_world

SIZES = [f"algorithm.model.{name}={TINY[name]}" for name in ("width", "depth", "head_width", "head_depth")]
SHORT = ["training.updates=3", "training.updates_per_iteration=1", "algorithm.optimization.batch_size=16"]
TASK = [*SIZES, *SHORT, "seed=3", "algorithm.method=task_critic"]


def settings_of(dataset: str, *overrides: str) -> PretrainSettings:
    return read_settings(PretrainSettings, apply_overrides({"dataset": dataset}, overrides), "test")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Walks of a point; label: it is to the right. Rewards say the opposite."""
    rng, trajectories = np.random.default_rng(0), []
    for _ in range(12):
        actions = rng.uniform(-1, 1, (6, 2)).astype(np.float32)
        states = np.concatenate([np.zeros((1, 2)), 0.3 * actions.cumsum(0)]).astype(np.float32)
        right = states[1:, 0] > 0
        trajectories.append(Trajectory({"state": states}, actions, (~right).astype(np.float32), right))
    path = tmp_path_factory.mktemp("task") / "labelled"
    write_dataset(path, trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    return str(path)


@pytest.fixture(scope="module")
def pretrained(point_world: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    storage = tmp_path_factory.mktemp("runs")
    return str(pretrain(settings_of(point_world, *SIZES, *SHORT), run_name="play", storage=storage).run_dir)


def weights_of(labelled: str, tmp_path: Path, *overrides: str) -> dict[str, np.ndarray]:
    result = pretrain(
        settings_of(labelled, *TASK, *overrides), run_name=f"r{len(list(tmp_path.iterdir()))}", storage=tmp_path
    )
    return read_checkpoint(result.checkpoint).state.weights


@pytest.mark.slow
def test_every_setting_of_a_task_changes_what_is_learnt(
    labelled: str, pretrained: str, point_world: str, tmp_path: Path
) -> None:
    plain, again = (weights_of(labelled, tmp_path)["critic.logit.weight"] for _ in range(2))
    assert np.array_equal(plain, again)
    auxiliary = f"task.auxiliary={point_world}"
    for overrides in (
        ["task.label=reward"],
        ["task.success_at=any"],
        ["task.success_share=0.9"],
        ["task.goal_start=mean"],
        ["task.goal_weight_cost=0.0001"],
        ["algorithm.model.task_goal=tensor"],
        [f"task.initial={pretrained}"],
        [auxiliary],
    ):
        changed = weights_of(labelled, tmp_path, *overrides)["critic.logit.weight"]
        assert not np.array_equal(changed, plain), overrides
    ratios = [weights_of(labelled, tmp_path, auxiliary, f"task.auxiliary_ratio={r}") for r in (1.0, 2.0, 0.0)]
    values = [weights["critic.logit.weight"] for weights in ratios]
    assert not np.array_equal(values[0], values[1])
    # At ratio 0 no transition of the auxiliary data is left; their scale stays, as that of the network's inputs.
    assert not np.array_equal(values[0], values[2])


def start_of(labelled: str, *overrides: str) -> dict[str, np.ndarray]:
    from am_ray.algorithm.learner import ObjectiveLearner

    config = ActionableModelsConfig.from_settings(settings_of(labelled, *TASK, *overrides))
    learner = ObjectiveLearner(config=config, module_spec=config.get_multi_rl_module_spec())
    learner.build()
    return dict(learner.training_state().weights)


TENSOR = "algorithm.model.task_goal=tensor"


def test_pretrained_weights_are_the_start_and_the_tensor_stands_at_the_mean_success(
    labelled: str, pretrained: str
) -> None:
    from am_ray.data.labelled import task_labels
    from am_ray.data.reader import read_dataset
    from am_ray.settings import TaskSettings

    checkpoint = read_checkpoint(next(iter(sorted(Path(pretrained).glob("checkpoint-*")))))
    start = start_of(labelled, TENSOR, f"task.initial={pretrained}")
    for name, value in checkpoint.state.weights.items():
        assert np.array_equal(start[name], value), name
    goal = task_labels(read_dataset(labelled), TaskSettings()).goal
    assert goal is not None
    expected = (goal["state"] - checkpoint.statistics.mean["state"]) / checkpoint.statistics.std["state"]
    for copy in ("critic", "target_critic", "acting_critic"):
        assert np.allclose(start[f"{copy}.encoder.task.tensor.state"], expected, atol=1e-5)
    assert (start_of(labelled, "task.goal_start=mean")["critic.encoder.task.tensor.state"] == 0).all()


def test_an_affine_goal_starts_at_what_changes_until_success(labelled: str) -> None:
    found = start_of(labelled, "task.goal_weight_cost=0.0001")["critic.encoder.task.weight.state"]
    unchanged = start_of(labelled, "task.goal_weight_cost=1e9")["critic.encoder.task.weight.state"]
    # At such a cost no weight is kept: an entry stays as it is, or takes the value that it usually has.
    for row, stays in zip(unchanged, np.eye(*found.shape), strict=True):
        assert np.allclose(row, stays, atol=1e-6) or np.allclose(row, 0.0, atol=1e-6)
    assert np.abs(found - unchanged).max() > 0.1
    assert not any(".task.weight." in name for name in start_of(labelled, TENSOR))


@pytest.mark.parametrize(("successes", "cost"), [(1, 2.0), (4, 0.5), (10, 0.2), (25, 0.2)])
def test_at_most_ten_successes_lower_the_cost_of_a_weight_of_the_goal(
    tmp_path: Path, successes: int, cost: float
) -> None:
    from am_ray.algorithm.task_start import task_start
    from am_ray.settings import TaskSettings

    states, actions = np.zeros((2, 2), np.float32), np.zeros((1, 2), np.float32)
    labels = [np.array([number < successes]) for number in range(successes + 3)]
    trajectories = [Trajectory({"state": states}, actions, label.astype(np.float32), label) for label in labels]
    write_dataset(tmp_path / "labelled", trajectories, fps=10.0, action_low=-1.0, action_high=1.0)
    settings = settings_of(str(tmp_path / "labelled"), *TASK).algorithm
    start = task_start(str(tmp_path / "labelled"), TaskSettings(goal_weight_cost=2.0), settings)
    assert start.weight_cost == pytest.approx(cost)


def test_scratch_and_pretrained_differ_in_nothing_but_weights_and_scale(labelled: str, pretrained: str) -> None:
    scratch, tuned = start_of(labelled), start_of(labelled, f"task.initial={pretrained}")
    assert {name: value.shape for name, value in scratch.items()} == {name: v.shape for name, v in tuned.items()}


@pytest.mark.parametrize("auxiliary", [False, True])
def test_two_halves_make_a_whole(
    labelled: str, point_world: str, pretrained: str, tmp_path: Path, auxiliary: bool
) -> None:
    extra = [f"task.auxiliary={point_world}"] if auxiliary else [f"task.initial={pretrained}"]
    whole = pretrain(settings_of(labelled, *TASK, *extra, "training.updates=6"), run_name="whole", storage=tmp_path)
    pretrain(settings_of(labelled, *TASK, *extra), run_name="halves", storage=tmp_path)
    halves = pretrain(settings_of(labelled, *TASK, *extra, "training.updates=6"), run_name="halves", storage=tmp_path)
    assert halves.resumed_from == 3
    one, two = (read_checkpoint(result.checkpoint).state for result in (whole, halves))
    for mine, theirs in ((one.weights, two.weights), (one.optimizer, two.optimizer)):
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_checkpoint_tells_where_it_came_from_and_acts_without_a_goal(
    labelled: str, pretrained: str, tmp_path: Path
) -> None:
    result = pretrain(settings_of(labelled, *TASK, f"task.initial={pretrained}"), run_name="a", storage=tmp_path)
    origin = read_checkpoint(result.checkpoint).origin
    assert origin["pretrained_from"]["update"] == 3
    assert (
        origin["pretrained_from"]["dataset_digest"]
        == read_checkpoint(next(iter(Path(pretrained).glob("checkpoint-*")))).origin["dataset"]["digest"]
    )
    assert load_policy(result.run_dir).act(np.zeros(2)).shape == (2,)


def test_streaming_draws_the_task_too(local_ray: None, labelled: str, tmp_path: Path) -> None:
    result = pretrain(
        settings_of(labelled, *TASK, "ingest.mode=streaming", "algorithm.optimization.batch_size=8"),
        run_name="stream",
        storage=tmp_path,
    )
    assert result.ingest_mode == "streaming"
    assert 0.0 < result.metrics["data/success_share"] < 1.0
    assert result.metrics["data/chained_share"] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["algorithm.model.width=9"], r"trained with model\.width = 8, here 9; arms need one network"),
        (["task.initial=nowhere"], "nowhere: no such directory"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    labelled: str, pretrained: str, tmp_path: Path, change: list[str], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        pretrain(
            settings_of(labelled, *TASK, f"task.initial={pretrained}", *change), run_name="a", storage=tmp_path / "runs"
        )
    assert not (tmp_path / "runs").exists()


def test_a_head_that_acts_is_that_of_the_pretraining(labelled: str, point_world: str, tmp_path: Path) -> None:
    likely = ["algorithm.critic.acting=likely", "algorithm.critic.cloning_weight=0.1"]
    for name, changes in (("cem", []), ("likely", likely)):
        pretrain(settings_of(point_world, *SIZES, *SHORT, *changes), run_name=name, storage=tmp_path)
    for name, changes, message in (
        ("cem", [], "no cloning head that acts"),
        (
            "likely",
            ["algorithm.cloning.num_components=3"],
            r"cloning\.num_components = 5, here 3; the auxiliary head",
        ),
    ):
        settings = settings_of(labelled, *TASK, *likely, f"task.initial={tmp_path / name}", *changes)
        with pytest.raises(CheckpointError, match=message):
            pretrain(settings, run_name="refused", storage=tmp_path)
    assert not (tmp_path / "refused").exists()
    tuned = pretrain(
        settings_of(labelled, *TASK, *likely, f"task.initial={tmp_path / 'likely'}"), run_name="a", storage=tmp_path
    )
    assert load_policy(tuned.run_dir).act(np.zeros(2)).shape == (2,)
    drawn = [
        "algorithm.critic.acting=drawn",
        "algorithm.critic.cloning_weight=0.1",
        "algorithm.cloning.binary_entries=[-1]",
    ]
    with pytest.raises(CheckpointError, match="no cloning head that acts"):
        pretrain(
            settings_of(labelled, *TASK, *drawn, f"task.initial={tmp_path / 'cem'}"), run_name="b", storage=tmp_path
        )


def test_weights_of_other_data_or_another_method_are_refused(labelled: str, point_world: str, tmp_path: Path) -> None:
    wide = write_point_world(tmp_path / "wide", state=3)
    runs: dict[str, Any] = {
        "wide": settings_of(wide, *SIZES, *SHORT),
        "cloning": settings_of(point_world, *SIZES, *SHORT, "algorithm.method=behavior_cloning"),
    }
    for name, settings in runs.items():
        pretrain(settings, run_name=name, storage=tmp_path)
    for name, message in (("wide", "the labelled data are"), ("cloning", "holds behavior_cloning; expected")):
        with pytest.raises(CheckpointError, match=message):
            pretrain(settings_of(labelled, *TASK, f"task.initial={tmp_path / name}"), run_name="a", storage=tmp_path)
