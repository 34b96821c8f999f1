from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from am_ray.envs.behaviours import BEHAVIOURS, sample_behaviour
from am_ray.envs.collector import DATA_STREAM, Collector, collect_episode
from am_ray.envs.goals import EVALUATION_STREAM
from am_ray.envs.recipe import PLAY_MIXTURE, TrayRecipe, load_recipe
from am_ray.envs.tasks import is_lifted
from am_ray.envs.tray import Tray
from am_ray.types import Trajectory

RECIPES = Path(__file__).parents[2] / "datasets"
SMALL = TrayRecipe(
    arm="gantry", kinds=("box", "banana", "milk"), num_objects=(2, 3), num_actions=(12, 16), observation="state"
)


def only(recipe: TrayRecipe, behaviour: str, **changes: object) -> TrayRecipe:
    return dataclasses.replace(recipe, mixture={behaviour: 1.0}, **changes)  # type: ignore[arg-type]


def same(one: Trajectory, other: Trajectory) -> bool:
    arrays = [(one.actions, other.actions), (one.successes, other.successes)]
    arrays += [(one.observations[name], other.observations[name]) for name in one.observations]
    return one.metadata == other.metadata and all(np.array_equal(a, b) for a, b in arrays)  # type: ignore[arg-type]


def test_an_episode_is_the_same_in_a_spawned_process_and_after_other_episodes() -> None:
    recipe = dataclasses.replace(SMALL, observation="both", image_size=24)
    collector = Collector(recipe)
    collector.collect(8)
    reused = collector.collect(9)
    collector.close()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        spawned = pool.apply(collect_episode, (9, recipe))
    assert same(reused, spawned)
    assert not same(reused, collect_episode(10, recipe))


def test_every_array_has_one_row_per_action_and_observations_one_more() -> None:
    recipe = dataclasses.replace(SMALL, observation="both", image_size=24)
    trajectory = collect_episode(0, recipe)
    count = len(trajectory.actions)
    assert recipe.num_actions[0] <= count <= recipe.num_actions[1]
    assert trajectory.observations["state"].shape == (count + 1, 39)
    assert trajectory.observations["front"].shape == (count + 1, 24, 24, 3)
    assert trajectory.successes is not None
    assert trajectory.successes.shape == (count,)
    assert np.abs(trajectory.actions).max() <= 1.0


def test_the_gripper_beside_the_image_is_the_first_part_of_the_state() -> None:
    both = collect_episode(3, dataclasses.replace(SMALL, observation="both", image_size=24))
    found = collect_episode(3, dataclasses.replace(SMALL, observation="image_gripper", image_size=24))
    assert np.array_equal(found.observations["front"], both.observations["front"])
    assert np.array_equal(found.observations["state"], both.observations["state"][:, :6])
    assert np.array_equal(found.actions, both.actions)


def test_data_and_evaluation_starts_come_from_different_streams() -> None:
    assert DATA_STREAM != EVALUATION_STREAM
    draws = [np.random.default_rng([stream, 5, 0]).random(4) for stream in (DATA_STREAM, EVALUATION_STREAM)]
    assert not np.array_equal(*draws)


def test_behaviours_are_drawn_in_proportion_to_their_weights() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(sample_behaviour(rng, PLAY_MIXTURE).name for _ in range(4000))
    total = sum(PLAY_MIXTURE.values())
    for name, weight in PLAY_MIXTURE.items():
        assert drawn[name] / 4000 == pytest.approx(weight / total, abs=0.03)
    assert sample_behaviour(rng, {"grasp": 0.0, "wander": 2.0}).name == "wander"


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_every_behaviour_plays_and_says_what_it_did(name: str) -> None:
    trajectory = collect_episode(3, only(SMALL, name))
    assert trajectory.metadata["behaviour"] == trajectory.task == name
    assert set(trajectory.metadata) >= {"seed", "target", "target_error_m", "action_std", "kinds", "grasped", "placed"}


def test_clean_grasps_end_with_the_object_held_and_say_so() -> None:
    collector = Collector(only(SMALL, "grasp", target_error_m=(0.0, 0.0), action_std=(0.0, 0.0), num_actions=(18, 18)))
    trajectories = [collector.collect(seed) for seed in range(6)]
    held = [trajectory.metadata["held_at_end"] for trajectory in trajectories]
    assert sum(held) >= 5
    for trajectory, is_held in zip(trajectories, held, strict=True):
        assert trajectory.successes is not None
        assert bool(trajectory.successes[-1]) == is_held
        assert not trajectory.successes[0]
    collector.close()


def test_stitch_joins_only_in_the_hand() -> None:
    """Place episodes begin with the object lifted; no episode goes from an object at rest to one in the bin."""
    recipe = load_recipe(RECIPES / "tray_stitch.yaml").recipe
    recipe = dataclasses.replace(
        recipe, arm="gantry", kinds=("box", "banana", "milk"), num_objects=(2, 2), observation="state"
    )
    collector = Collector(only(recipe, "place_held", action_std=(0.0, 0.0), target_error_m=(0.0, 0.0)))
    names = collector.tray.state_names()
    placed = 0
    for seed in range(5):
        trajectory = collector.collect(seed)
        first = dict(zip(names, trajectory.observations["state"][0], strict=True))
        assert first[f"{trajectory.metadata['target']}_z"] > 0.09
        assert first["gripper_width"] < 0.07
        placed += trajectory.metadata["placed"]
    assert placed >= 4
    collector.close()
    collector = Collector(recipe)
    for seed in range(12):
        trajectory = collector.collect(seed)
        if not BEHAVIOURS[trajectory.task].starts_held:
            assert not trajectory.metadata["placed"]
    collector.close()


def test_each_setting_of_a_recipe_changes_the_data() -> None:
    base = only(SMALL, "grasp", num_actions=(12, 12))
    reference = collect_episode(1, base)
    changes: list[dict[str, object]] = [
        {"arm": "panda"},
        {"container": "plate"},
        {"num_actions": (13, 13)},
        {"prelude": (5, 5)},
        {"target_error_m": (0.02, 0.02)},
        {"action_std": (0.3, 0.3)},
        {"num_objects": (1, 1)},
        {"mixture": {"wander": 1.0}},
        {"num_behaviours": (2, 2)},
    ]
    for change in changes:
        other = collect_episode(1, dataclasses.replace(base, **change))  # type: ignore[arg-type]
        assert not np.array_equal(reference.observations["state"], other.observations["state"]), change


def test_episodes_of_a_scene_begin_alike_and_go_on_differently() -> None:
    recipe = dataclasses.replace(SMALL, episodes_per_scene=3, prelude=(0, 0), mixture={"grasp": 1.0, "wander": 1.0})
    collector = Collector(recipe)
    episodes = [collector.collect(seed) for seed in range(6)]
    starts = [episode.observations["state"][0] for episode in episodes]
    assert all(np.array_equal(starts[0], start) for start in starts[1:3])
    assert all(np.array_equal(starts[3], start) for start in starts[4:])
    assert not np.array_equal(starts[2], starts[3])
    assert len({episode.actions.tobytes() for episode in episodes}) == 6
    collector.close()


def test_uncut_play_holds_its_behaviours_one_after_the_other() -> None:
    recipe = dataclasses.replace(SMALL, arm="panda", num_behaviours=(3, 3), target_error_m=(0.0, 0.0))
    first = dataclasses.replace(recipe, num_behaviours=(1, 1))
    collector, alone = Collector(recipe), Collector(first)
    counts = Counter[int]()
    for seed in range(8):
        episode, cut = collector.collect(seed), alone.collect(seed)
        begun = len(cut.actions)
        assert np.array_equal(episode.actions[:begun], cut.actions)
        behaviours = str(episode.metadata.get("behaviours", cut.task)).split(",")
        targets = str(episode.metadata["target"]).split(",")
        assert behaviours[0] == cut.task
        assert targets[0] == cut.metadata["target"]
        assert len(targets) == len(behaviours)
        assert episode.task == (cut.task if len(behaviours) == 1 else "play")
        low, high = recipe.num_actions
        assert len(behaviours) * low <= len(episode.actions) <= len(behaviours) * high
        assert len(behaviours) == 3 or episode.metadata["left_tray"]
        counts[len(behaviours)] += 1
    assert counts[3] >= 4
    collector.close()
    alone.close()


def test_steps_of_uncut_play_are_labelled_by_the_behaviour_under_way() -> None:
    recipe = only(SMALL, "grasp", num_behaviours=(2, 2), num_actions=(18, 18), target_error_m=(0.0, 0.0))
    collector = Collector(dataclasses.replace(recipe, action_std=(0.0, 0.0), num_objects=(2, 2)))
    told_apart = 0
    for seed in range(8):
        episode = collector.collect(seed)
        first, last = (collector.tray.truth().objects[str(episode.metadata["target"]).split(",")[i]] for i in (0, -1))
        assert episode.successes is not None
        assert bool(episode.successes[-1]) == is_lifted(last)
        told_apart += is_lifted(first) != is_lifted(last)
    assert told_apart >= 2  # the other target's label would be another
    collector.close()


def test_a_behaviour_of_uncut_play_begins_where_the_one_before_it_ended() -> None:
    recipe = only(SMALL, "rearrange", num_behaviours=(2, 2), num_objects=(1, 1), num_actions=(24, 24))
    collector = Collector(dataclasses.replace(recipe, target_error_m=(0.0, 0.0), action_std=(0.0, 0.0), prelude=(0, 0)))
    moved = 0
    for seed in range(6):
        successes = collector.collect(seed).successes
        assert successes is not None
        if successes[23]:
            moved += 1
            assert not successes[24]  # of the second: nothing has moved since it began
    assert moved >= 3
    collector.close()


def test_uncut_play_ends_with_the_behaviour_in_which_something_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tray, "left_tray", lambda self: True)
    episode = collect_episode(0, dataclasses.replace(SMALL, num_behaviours=(3, 3)))
    assert episode.task == episode.metadata["behaviour"] != "play"
    assert "behaviours" not in episode.metadata
    assert SMALL.num_actions[0] <= len(episode.actions) <= SMALL.num_actions[1]


def test_a_share_of_the_behaviours_of_uncut_play_is_about_the_task() -> None:
    recipe = only(SMALL, "wander", num_behaviours=(6, 6), num_actions=(1, 1), num_objects=(3, 3), task="grasp_box")
    for share, expected in ((1.0, {"box"}), (0.0, {"box", "banana", "milk"})):
        episode = collect_episode(1, dataclasses.replace(recipe, task_share=share))
        assert set(str(episode.metadata["target"]).split(",")) == expected
        assert episode.task == "grasp_box"


def test_colors_are_drawn_from_the_palette_and_show() -> None:
    recipe = only(SMALL, "wander", observation="image", image_size=32, num_actions=(1, 1))
    recipe = dataclasses.replace(
        recipe, kinds=("cube",), num_objects=(1, 1), colors={"cube": ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0))}
    )
    seen = set()
    for seed in range(8):
        image = collect_episode(seed, recipe).observations["front"][0].astype(int)
        red, green, blue = image[..., 0], image[..., 1], image[..., 2]
        seen.add("magenta" if ((red - green > 80) & (blue - green > 80)).sum() > 3 else "other")
        seen.add("green" if ((green - red > 80) & (green - blue > 80)).sum() > 3 else "other")
    assert {"magenta", "green"} <= seen
