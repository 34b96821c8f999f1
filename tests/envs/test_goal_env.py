"""The Gymnasium contract, and what a goal is and is not."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from am_ray.envs import ENV_ID
from am_ray.envs.goal_env import TrayEnv, make_oracle
from am_ray.envs.goals import task_skill
from am_ray.envs.scripted import ScriptedPolicy, Skill
from am_ray.envs.tasks import TASKS, is_fair_goal
from am_ray.types import SettingsError

GOAL_TASKS = ("instance_grasping", "rearrangement", "container_placing")
STILL = np.array([0, 0, 0, 0, -1], dtype=np.float32)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize(
    ("observation", "render_mode"),
    [("state", None), ("image", None), ("image_gripper", None), ("both", None), ("state", "rgb_array")],
)
def test_gymnasium_accepts_it(observation: str, render_mode: str | None) -> None:
    env = gymnasium.make(ENV_ID, arm="gantry", observation=observation, image_size=24, render_mode=render_mode)
    check_env(env.unwrapped, skip_close_check=True)
    space = env.observation_space
    assert isinstance(space, gymnasium.spaces.Dict)
    assert space["desired_goal"] == space["observation"] == space["achieved_goal"]
    env.close()


@pytest.mark.parametrize("task", GOAL_TASKS)
def test_goals_are_fair_and_the_oracle_reaches_them(env: TrayEnv, task: str) -> None:
    for seed in range(4):
        _, info = env.reset(seed=seed, options={"task": task})
        assert env.episode is not None
        assert is_fair_goal(TASKS[task], env.episode.assignment)
        assert not info["success"]
        oracle = make_oracle(env)
        truncated = False
        while not truncated:
            observation, _, _, truncated, info = env.step(oracle.act())
        assert info["success"]
        # positions: a held object may turn by some degrees while it is held for longer than the goal's script did
        places = [i for i, name in enumerate(env.tray.state_names()) if name.endswith(("_x", "_y", "_z"))]
        assert observation["observation"][places] == pytest.approx(observation["desired_goal"][places], abs=0.02)


def test_the_episode_starts_where_the_goal_s_episode_started(env: TrayEnv) -> None:
    observation, _ = env.reset(seed=5, options={"task": "rearrangement"})
    assert env.episode is not None
    env.tray.reset(env.episode.layout)
    assert np.array_equal(env.tray.state_vector(), observation["observation"])


def test_a_seed_means_one_episode_and_another_seed_another(env: TrayEnv) -> None:
    one, two, other = (env.reset(seed=seed)[0] for seed in (3, 3, 4))
    assert equal(one, two)
    assert not equal(one, other)
    follow_up = [env.reset()[0] for _ in range(2)]
    env.reset(seed=4)
    assert equal(env.reset()[0], follow_up[0])
    assert not equal(*follow_up)


def test_the_target_is_in_info_only_and_each_kind_gets_its_turn(env: TrayEnv) -> None:
    targets = set()
    for seed in range(12):
        observation, info = env.reset(seed=seed)
        assert set(observation) == {"observation", "achieved_goal", "desired_goal"}
        assert observation["desired_goal"].shape == observation["observation"].shape
        targets.add(info["target"])
    assert targets == {"box", "banana", "milk"}


def test_an_episode_never_ends_on_success_and_its_last_state_counts() -> None:
    env = TrayEnv(arm="gantry", max_episode_steps=25)
    env.reset(seed=0)
    oracle = make_oracle(env)
    ends = []
    for step in range(25):
        action = oracle.act() if step < 18 else STILL  # then let go
        _, reward, terminated, truncated, info = env.step(action)
        assert not terminated
        assert reward == float(info["success"])
        ends.append(truncated)
    assert ends == [False] * 24 + [True]
    assert info["success_any_step"]
    assert not info["success"]
    env.close()


def wrong_skill(env: TrayEnv, task: str, rng: np.random.Generator) -> Skill:
    """The task's script with another object, as well as there is room for it."""
    assert env.episode is not None
    wrong = [kind for kind in env.tray.kinds if kind != env.episode.assignment.target]
    skills = (task_skill(TASKS[task], kind, env.tray.truth(), rng) for kind in wrong)
    aimless = task_skill(TASKS["instance_grasping"], wrong[0], env.tray.truth(), rng)
    skill = next((skill for skill in skills if skill is not None), aimless)
    assert skill is not None
    return skill


@pytest.mark.parametrize("task", GOAL_TASKS)
def test_doing_nothing_and_moving_the_wrong_object_fail(env: TrayEnv, task: str) -> None:
    for seed in range(3):
        env.reset(seed=seed, options={"task": task})
        assert not env.step(STILL)[4]["success"]
        assert env.episode is not None
        rng = np.random.default_rng(seed)
        skill = wrong_skill(env, task, rng)
        policy = ScriptedPolicy(skill)
        for _ in range(26):
            info = env.step(policy.act(env.tray, rng))[4]
        assert policy.finished
        assert not info["success_any_step"]


@pytest.mark.parametrize("kind", ["box", "banana", "milk"])
def test_reward_tasks_show_no_goal_and_pay_when_the_named_object_is_held(env: TrayEnv, kind: str) -> None:
    observation, info = env.reset(seed=1, options={"task": f"grasp_{kind}"})
    assert info["target"] == kind
    assert not observation["desired_goal"].any()
    oracle = make_oracle(env)
    rewards = [env.step(oracle.act())[1] for _ in range(20)]
    assert rewards[0] == 0.0
    assert rewards[-1] == 1.0


def test_options_choose_task_and_target_for_one_episode(env: TrayEnv) -> None:
    assert env.reset(seed=0, options={"task": "container_placing", "target": "milk"})[1]["target"] == "milk"
    assert env.reset(seed=0)[1]["task"] == "instance_grasping"


def test_fewer_objects_than_kinds_leave_empty_slots_but_never_the_target_s() -> None:
    env = TrayEnv(arm="gantry", kinds=("box", "banana", "milk", "cube"), num_objects=2)
    names = env.tray.state_names()
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        present = {n.removesuffix("_present") for n, v in zip(names, observation["observation"], strict=True) if v == 1}
        kinds = present & set(env.tray.kinds)
        assert len(kinds) == 2
        assert info["target"] in kinds
    env.close()


def test_goals_are_about_the_targets_alone() -> None:
    env = TrayEnv(arm="gantry", kinds=("box", "banana", "milk", "cube"), num_objects=2, targets=("milk", "cube"))
    seen = {env.reset(seed=seed)[1]["target"] for seed in range(8)}
    assert seen == {"milk", "cube"}
    assert env.reset(seed=0, options={"target": "box"})[1]["target"] == "box"
    env.close()


def test_light_and_noise_change_the_goal_image_and_nothing_else() -> None:
    def start(**settings: Any) -> dict[str, Any]:
        env = TrayEnv(arm="gantry", observation="both", image_size=24, **settings)
        observation, _ = env.reset(seed=3)
        env.close()
        return observation

    plain, dark = start(), start(goal_light={"ambient": 0.3, "direction": (-0.6, 0.5, 1.4)})
    noisy = start(goal_noise=10.0)
    for other in (dark, noisy):
        assert equal(other["observation"], plain["observation"])
        assert equal(other["desired_goal"]["state"], plain["desired_goal"]["state"])
    images = [x["desired_goal"]["front"].astype(float) for x in (plain, dark, noisy)]
    assert images[1].mean() < images[0].mean() - 10
    assert 5 < (images[2] - images[0]).std() < 12
    assert equal(noisy, start(goal_noise=10.0))


def test_settings_that_cannot_be_combined_are_refused() -> None:
    with pytest.raises(SettingsError, match="expected one of instance_grasping"):
        TrayEnv(task="juggling", arm="gantry")
    with pytest.raises(SettingsError, match="container_placing: got container None"):
        TrayEnv(task="container_placing", arm="gantry", container=None)
    with pytest.raises(SettingsError, match="expected milk among them"):
        TrayEnv(task="grasp_milk", arm="gantry", kinds=("box", "cube"))
    with pytest.raises(SettingsError, match=r"targets: got \['apple'\]"):
        TrayEnv(arm="gantry", targets=("apple",))
    with pytest.raises(SettingsError, match=r"goal_light: got \{'ambience': 1\}"):
        TrayEnv(arm="gantry", goal_light={"ambience": 1})
    with pytest.raises(SettingsError, match=r"colors: got .* for box; expected red, green and blue"):
        TrayEnv(arm="gantry", colors={"box": (255, 0, 0)})
    with pytest.raises(SettingsError, match="goal_noise: got -1"):
        TrayEnv(arm="gantry", goal_noise=-1)
    for about_the_image in ({"goal_light": {"ambient": 0.3}}, {"goal_noise": 8.0}):
        (name,) = about_the_image
        with pytest.raises(SettingsError, match=f"{name}: got .* with observation: state; .*Remove it"):
            TrayEnv(arm="gantry", **about_the_image)
    env = TrayEnv(arm="gantry")
    with pytest.raises(SettingsError, match="reset options: got \\['tsk'\\]"):
        env.reset(options={"tsk": "rearrangement"})
    with pytest.raises(SettingsError, match="before its first reset"):
        make_oracle(env).act()
    env.close()


def test_the_portrait_shows_the_scene_with_shadows() -> None:
    env = TrayEnv(arm="gantry", render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame is not None
    assert frame.shape == (480, 480, 3)
    red = (frame[..., 0] > 120) & (frame[..., 1] < 60) & (frame[..., 2] < 60)  # the box
    yellow = (frame[..., 0] > 150) & (frame[..., 1] > 120) & (frame[..., 2] < 80)  # the banana
    assert red.mean() > 1e-3
    assert yellow.mean() > 1e-3
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["gantry", "panda"])
@pytest.mark.parametrize("task", GOAL_TASKS)
def test_random_actions_are_at_the_floor_and_the_oracle_at_the_ceiling(arm: str, task: str) -> None:
    env = TrayEnv(arm=arm)
    reached = {"random": 0, "oracle": 0}
    for seed in range(15):
        for who in reached:
            env.reset(seed=seed, options={"task": task})
            oracle, rng = make_oracle(env), np.random.default_rng(seed)
            truncated = False
            while not truncated:
                action = oracle.act() if who == "oracle" else rng.uniform(-1, 1, size=5).astype(np.float32)
                _, _, _, truncated, info = env.step(action)
            reached[who] += info["success"]
    assert reached["random"] <= 1
    assert reached["oracle"] >= 14
    env.close()
