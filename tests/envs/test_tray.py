"""The world: where things are, what actions do, and that a seed means the same bits everywhere."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from am_ray.envs.layout import Layout, Placement
from am_ray.envs.objects import KINDS
from am_ray.envs.robot import YAW_LIMIT_RAD
from am_ray.envs.tray import Tray
from am_ray.types import SettingsError

OPEN, CLOSE = -1.0, 1.0
BY_HAND = Layout(
    (Placement("box", (0.05, 0.06), 0.5), Placement("milk", (-0.08, -0.06), 0.0)), (0.1, -0.1), (0.0, 0.0, 0.15), 0.3
)

HASH_OF_AN_EPISODE = """
import hashlib, sys
import numpy as np
from am_ray.envs.layout import sample_layout
from am_ray.envs.tray import Tray
tray = Tray(arm=sys.argv[1], observation="both", image_size=32)
digest = hashlib.sha256()
for seed in map(int, sys.argv[2:]):
    digest = hashlib.sha256()
    rng = np.random.default_rng(seed)
    tray.reset(sample_layout(rng, tray.kinds, container="bin"))
    for _ in range(8):
        tray.step(rng.uniform(-1, 1, 5) * [1, 1, 2, 1, 1] - [0, 0, 0.5, 0, 0])
        for value in tray.observe().values():
            digest.update(value.tobytes())
print(digest.hexdigest())
"""


def episode_hash(arm: str, *seeds: int) -> str:
    command = [sys.executable, "-c", HASH_OF_AN_EPISODE, arm, *map(str, seeds)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arm", ["gantry", "panda"])
def test_the_last_of_several_episodes_has_the_same_bits_as_in_a_process_of_its_own(arm: str) -> None:
    assert episode_hash(arm, 2, 5, 3) == episode_hash(arm, 3)
    assert episode_hash(arm, 2) != episode_hash(arm, 3)


def test_the_state_is_named_and_reads_as_the_layout_says(tray: Tray) -> None:
    tray.reset(BY_HAND)
    state = dict(zip(tray.state_names(), tray.state_vector(), strict=True))
    assert state["gripper_z"] == pytest.approx(0.15, abs=1e-3)
    assert np.arctan2(state["gripper_sin_yaw"], state["gripper_cos_yaw"]) == pytest.approx(0.3, abs=1e-3)
    assert state["gripper_width"] == pytest.approx(0.08, abs=1e-3)
    assert (state["container_present"], state["container_x"]) == (1.0, pytest.approx(0.1))
    assert [state["box_x"], state["box_y"], state["box_z"]] == pytest.approx([0.05, 0.06, 0.02], abs=2e-3)
    assert [state["box_r00"], state["box_r10"], state["box_r20"]] == pytest.approx(
        [np.cos(0.5), np.sin(0.5), 0.0], abs=0.02
    )
    assert [state["box_r01"], state["box_r11"]] == pytest.approx([-np.sin(0.5), np.cos(0.5)], abs=0.02)
    assert state["milk_z"] == pytest.approx(KINDS["milk"].size[2] / 2, abs=2e-3)


def test_an_absent_object_has_an_empty_slot(tray: Tray) -> None:
    tray.reset(BY_HAND)
    state = dict(zip(tray.state_names(), tray.state_vector(), strict=True))
    slot = [value for name, value in state.items() if name.startswith("banana_")]
    assert slot == [0.0] * 10


@pytest.mark.parametrize("arm", ["gantry", "panda"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_full_action_moves_the_tool_5_cm_along_its_axis(arm: str, axis: int) -> None:
    tray = Tray(arm=arm, kinds=("cube",), container=None)
    tray.reset(Layout((), None, (0.0, 0.0, 0.15), 0.0))
    before = tray.robot.pose().position
    action = np.zeros(5)
    action[axis] = 1.0
    tray.step(action)
    expected = np.zeros(3)
    expected[axis] = 0.05
    assert tray.robot.pose().position - before == pytest.approx(expected, abs=4e-3)
    tray.close()


def test_yaw_turns_by_0_6_rad_and_the_gripper_closes_above_zero(tray: Tray) -> None:
    tray.reset(BY_HAND)
    tray.step(np.array([0, 0, 0, 1.0, OPEN]))
    assert tray.robot.pose().yaw_rad == pytest.approx(0.9, abs=0.03)
    assert tray.robot.pose().width_m > 0.075
    tray.step(np.array([0, 0, 0, 0, CLOSE]))
    assert tray.robot.pose().width_m < 0.01


def test_actions_beyond_the_range_are_clipped_and_the_workspace_holds(tray: Tray) -> None:
    tray.reset(BY_HAND)
    before = tray.robot.pose().position
    tray.step(np.array([9.0, 0, 0, 0, OPEN]))
    assert tray.robot.pose().position[0] - before[0] < 0.055
    for _ in range(8):
        tray.step(np.array([1.0, 1.0, 1.0, 1.0, OPEN]))
    pose = tray.robot.pose()
    assert pose.position.max() < 0.27
    assert pose.position[:2].max() < 0.155
    assert pose.yaw_rad < YAW_LIMIT_RAD + 0.05


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_comes_to_rest_where_it_was_put(kind: str) -> None:
    tray = Tray(arm="gantry", kinds=(kind,), container=None)
    tray.reset(Layout((Placement(kind, (0.05, 0.05), 0.4),), None, (-0.1, -0.1, 0.2), 0.0))
    for _ in range(4):
        tray.step(np.array([0, 0, 0, 0, OPEN]))
    obj = tray.truth().objects[kind]
    assert obj.position[:2] == pytest.approx([0.05, 0.05], abs=4e-3)
    assert obj.position[2] == pytest.approx(KINDS[kind].size[2] / 2, abs=2e-3)
    assert obj.speed_m_s < 0.01
    tray.close()


def test_a_color_changes_the_image_and_nothing_else() -> None:
    tray = Tray(arm="gantry", kinds=("cube",), container=None, observation="both")
    seen = []
    for color in (None, (0.9, 0.2, 0.9)):
        tray.reset(Layout((Placement("cube", (0.05, 0.0), 0.0, color),), None, (-0.1, 0.0, 0.2), 0.0))
        seen.append(tray.observe())
    assert np.array_equal(seen[0]["state"], seen[1]["state"])
    changed = (seen[0]["front"].astype(int) - seen[1]["front"]).any(axis=-1)
    assert 0.002 < changed.mean() < 0.05
    tray.close()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_camera_sees_each_kind(kind: str) -> None:
    tray = Tray(arm="gantry", kinds=(kind,), container=None, observation="image", image_size=48)
    tray.reset(Layout((Placement(kind, (0.06, -0.04), 0.3),), None, (-0.12, 0.1, 0.22), 0.0))
    full = tray.image().astype(int)
    tray.reset(Layout((), None, (-0.12, 0.1, 0.22), 0.0))
    assert (np.abs(full - tray.image()).max(axis=-1) > 20).sum() >= 15
    tray.close()


def test_an_object_over_the_edge_is_noticed(tray: Tray) -> None:
    tray.reset(BY_HAND)
    assert not tray.left_tray()
    tray.reset(Layout((Placement("box", (0.3, 0.0), 0.0),), None, (0.0, 0.0, 0.15), 0.0))
    assert tray.left_tray()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arm": "kuka"}, "arm: got 'kuka'; expected one of panda, gantry"),
        ({"container": "bag"}, "container"),
        ({"observation": "depth"}, "observation"),
        ({"kinds": ("box", "pear")}, "pear"),
        ({"kinds": ("box", "box")}, "at most once"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Tray(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("aside_m", "held"), [(0.0, True), (0.05, False)])
def test_holding_needs_both_fingers_on_the_object(tray: Tray, aside_m: float, held: bool) -> None:
    tray.reset(Layout((Placement("box", (0.0, 0.0), 0.0),), None, (0.0, 0.0, 0.15), 0.0))
    tray.robot.place(np.array([0.0, aside_m, 0.02]), 0.0)  # 5 cm aside, one finger stands at the box's far side
    tray.step(np.array([0, 0, 0, 0, CLOSE]))
    assert tray.truth().objects["box"].held is held
