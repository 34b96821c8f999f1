"""The success rules on states written by hand, each on both sides of its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from am_ray.envs.robot import GripperPose
from am_ray.envs.tasks import TASKS, Assignment, is_contained, is_fair_goal, is_lifted
from am_ray.envs.tray import ObjectState, TrayState

BIN_XY = (0.10, -0.10)
MILK_REST_M = 0.05


def an_object(x: float = 0.0, y: float = 0.0, z: float = MILK_REST_M, **changes: object) -> ObjectState:
    rest = ObjectState(np.array([x, y, z]), np.eye(3), 0.0, MILK_REST_M, held=False, touched=False)
    return replace(rest, **changes)  # type: ignore[arg-type]


def a_state(container: str | None = "bin", **objects: ObjectState) -> TrayState:
    gripper = GripperPose(np.array([0.0, 0.0, 0.2]), 0.0, 0.08)
    return TrayState(gripper, container, BIN_XY if container else None, objects)


def asking(start: TrayState, goal: TrayState | None = None) -> Assignment:
    return Assignment("milk", start, goal)


@pytest.mark.parametrize(
    ("height_m", "held", "expected"),
    [(0.101, True, True), (0.099, True, False), (0.20, False, False), (0.05, True, False)],
)
def test_lifting_needs_the_grip_and_5_cm_above_the_own_rest_height(height_m: float, held: bool, expected: bool) -> None:
    assert is_lifted(an_object(z=height_m, held=held)) is expected


def test_a_standing_carton_touched_by_both_fingers_is_not_grasped_though_its_centre_is_at_5_cm() -> None:
    """The trap of an absolute height: the carton's centre rests at 5 cm."""
    assert not is_lifted(an_object(z=MILK_REST_M, held=True))


def test_grasping_asks_for_the_target_and_not_for_another_object() -> None:
    start = a_state(milk=an_object(), box=an_object(0.1))
    lifted = {"z": 0.15, "held": True}
    task = TASKS["instance_grasping"]
    assert task.rule(a_state(milk=an_object(**lifted), box=an_object(0.1)), asking(start))
    assert not task.rule(a_state(milk=an_object(), box=an_object(0.1, **lifted)), asking(start))


@pytest.mark.parametrize("name", ["grasp_box", "grasp_banana", "grasp_milk"])
def test_reward_tasks_name_their_target_and_show_no_goal(name: str) -> None:
    assert TASKS[name].target == name.removeprefix("grasp_")
    assert not TASKS[name].has_goal


@pytest.mark.parametrize(("error_m", "expected"), [(0.0, True), (0.039, True), (0.041, False)])
@pytest.mark.parametrize("kind", ["milk", "box"])
def test_rearrangement_holds_every_object_to_4_cm(kind: str, error_m: float, expected: bool) -> None:
    start = a_state(milk=an_object(), box=an_object(0.1))
    goal = a_state(milk=an_object(y=0.1), box=an_object(0.1))
    now = {"milk": an_object(y=0.1), "box": an_object(0.1)}
    x, y, _ = now[kind].position
    now[kind] = an_object(x - 0.6 * error_m, y - 0.8 * error_m)  # in the plane: a 3-4-5 triangle
    assert TASKS["rearrangement"].rule(a_state(**now), asking(start, goal)) is expected


def test_rearrangement_ignores_height_but_not_a_target_in_the_hand() -> None:
    start = a_state(milk=an_object())
    goal = a_state(milk=an_object(y=0.1))
    rule = TASKS["rearrangement"].rule
    assert rule(a_state(milk=an_object(y=0.1, z=0.03)), asking(start, goal))
    assert not rule(a_state(milk=an_object(y=0.1, held=True)), asking(start, goal))


@pytest.mark.parametrize(
    ("dx", "dy", "expected"),
    [(0.0, 0.0, True), (0.053, 0.053, True), (0.055, 0.0, False), (0.0, -0.055, False), (-0.053, 0.0, True)],
)
def test_the_bin_is_square_and_ends_8_mm_before_its_wall(dx: float, dy: float, expected: bool) -> None:
    state = a_state(milk=an_object(BIN_XY[0] + dx, BIN_XY[1] + dy))
    assert is_contained(state, "milk") is expected


@pytest.mark.parametrize(("dx", "dy", "expected"), [(0.066, 0.0, True), (0.068, 0.0, False), (0.053, 0.053, False)])
def test_the_plate_is_round(dx: float, dy: float, expected: bool) -> None:
    state = a_state("plate", milk=an_object(BIN_XY[0] + dx, BIN_XY[1] + dy))
    assert is_contained(state, "milk") is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"z": 0.084}, True),
        ({"z": 0.086}, False),
        ({"speed_m_s": 0.049}, True),
        ({"speed_m_s": 0.051}, False),
        ({"touched": True}, False),
    ],
)
def test_a_contained_object_is_low_still_and_let_go(changes: dict[str, float], expected: bool) -> None:
    assert is_contained(a_state(milk=an_object(*BIN_XY, **changes)), "milk") is expected


def test_nothing_is_contained_without_a_container() -> None:
    assert not is_contained(a_state(None, milk=an_object(*BIN_XY)), "milk")


@pytest.mark.parametrize(("push_m", "expected"), [(0.039, True), (0.041, False)])
def test_placing_fails_if_another_object_moved_more_than_4_cm(push_m: float, expected: bool) -> None:
    start = a_state(milk=an_object(), box=an_object(-0.1))
    now = a_state(milk=an_object(*BIN_XY), box=an_object(-0.1, push_m))
    assert TASKS["container_placing"].rule(now, asking(start)) is expected


@pytest.mark.parametrize(("moved_m", "expected"), [(0.061, True), (0.059, False), (0.0, False)])
def test_a_goal_that_moved_its_target_less_than_6_cm_is_refused(moved_m: float, expected: bool) -> None:
    start = a_state(milk=an_object(), box=an_object(0.1))
    goal = a_state(milk=an_object(y=moved_m), box=an_object(0.1))
    assert is_fair_goal(TASKS["rearrangement"], asking(start, goal)) is expected


def test_a_goal_in_which_the_script_pushed_another_object_is_refused() -> None:
    start = a_state(milk=an_object(), box=an_object(0.1))
    goal = a_state(milk=an_object(y=0.1), box=an_object(0.1, 0.05))
    assert not is_fair_goal(TASKS["rearrangement"], asking(start, goal))


def test_a_start_that_already_satisfies_the_rule_is_refused() -> None:
    start = a_state(milk=an_object(BIN_XY[0] - 0.05, BIN_XY[1] - 0.05))
    goal = a_state(milk=an_object(BIN_XY[0] + 0.05, BIN_XY[1] + 0.05))  # 14 cm away, and still inside
    assert TASKS["container_placing"].rule(goal, asking(start, goal))
    assert not is_fair_goal(TASKS["container_placing"], asking(start, goal))


def test_a_goal_on_which_the_rule_fails_is_refused() -> None:
    start = a_state(milk=an_object())
    assert not is_fair_goal(TASKS["instance_grasping"], asking(start, a_state(milk=an_object(y=0.1))))
