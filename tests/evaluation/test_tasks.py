import pytest

from am_ray.evaluation.tasks import (
    FIRST_EVALUATION_SEED,
    TaskSpec,
    episode_seeds,
    tasks_from_reset_options,
    tray_tasks,
)
from am_ray.types import SettingsError


def test_seeds_lie_apart_from_those_of_data() -> None:
    seeds = episode_seeds(0, "rearrangement", 2000)
    assert len(set(seeds)) == 2000
    assert min(seeds) >= FIRST_EVALUATION_SEED == 2**31
    assert max(seeds) < 2**32


def test_more_episodes_keep_the_first_ones() -> None:
    assert episode_seeds(3, "a", 50)[:20] == episode_seeds(3, "a", 20)


def test_seeds_differ_between_tasks_and_evaluations() -> None:
    lists = [episode_seeds(seed, task, 100) for seed, task in ((0, "a"), (0, "b"), (1, "a"))]
    assert len(set().union(*lists)) == 300


def test_colliding_draws_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("am_ray.evaluation.tasks.episode_seed", lambda seed, task, index: index // 2)
    assert episode_seeds(0, "a", 3) == [0, 1, 2]


def test_reset_options_name_their_task() -> None:
    options = [{"task": "push", "speed": 2}, {"task_id": 4}]
    assert tasks_from_reset_options(options) == [TaskSpec("push", options[0]), TaskSpec("1", {"task_id": 4})]
    assert tasks_from_reset_options([]) == [TaskSpec("default", {})]
    with pytest.raises(SettingsError, match="each name once"):
        tasks_from_reset_options([{"task": "push"}, {"task": "push"}])


def test_tray_evaluates_the_zero_shot_tasks_that_it_can() -> None:
    names = [task.name for task in tray_tasks(None)]
    assert names == ["instance_grasping", "rearrangement", "container_placing"]
    assert [task.name for task in tray_tasks(None, has_container=False)] == names[:2]
    assert tray_tasks(["grasp_box"]) == [TaskSpec("grasp_box", {"task": "grasp_box"})]
    for wrong in ([], ["grasp_box", "grasp_box"]):
        with pytest.raises(SettingsError, match="at least one, each once"):
            tray_tasks(wrong)
