"""Tasks and their success rules: pure functions of simulator truth, with no physics and no pixels.

========================  =============================================================================================
task                      rule, at the last state
========================  =============================================================================================
instance grasping         the goal's object is held by both fingers, 5 cm or more above ITS OWN rest height
rearrangement             every object within 4 cm (xy) of its place in the goal, the target not held
container placing         the goal's object lies inside, still and let go; no other object moved more than 4 cm
grasp box, banana, milk   the named object is held, as above
========================  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from am_ray.envs.objects import BIN_HALF_M, PLATE_RADIUS_M
from am_ray.envs.tray import ObjectState, TrayState

LIFT_M = 0.05  # above the object's own rest height: a standing carton nearly passes an absolute height
REARRANGE_TOLERANCE_M = 0.04
MIN_TARGET_MOVE_M = 0.06
CONTAINER_INSET_M = 0.008
CONTAINER_HEIGHT_M = 0.085
STILL_M_S = 0.05
MAX_OTHERS_MOVE_M = 0.04


@dataclass(frozen=True)
class Assignment:
    """What an episode asks for: the target's kind, the start, and the goal (``None`` in reward tasks)."""

    target: str
    start: TrayState
    goal: TrayState | None = None


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: Its id.
        rule: Whether a state fulfils an assignment.
        target: The kind it is always about; ``None`` where each goal has its own.
        target_moves: The goal must have the target 6 cm or more from its start.
        needs_container: It cannot be asked of a tray without a container.
    """

    name: str
    rule: Callable[[TrayState, Assignment], bool]
    target: str | None = None
    target_moves: bool = False
    needs_container: bool = False

    @property
    def has_goal(self) -> bool:
        """Whether the episode shows a goal; reward tasks do not."""
        return self.target is None


def is_lifted(obj: ObjectState) -> bool:
    """Held by both fingers, at least 5 cm above where it lay."""
    return obj.held and float(obj.position[2]) - obj.rest_height_m >= LIFT_M


def is_contained(state: TrayState, kind: str) -> bool:
    """Inside the container, still, and let go of."""
    if state.container is None or state.container_xy is None:
        return False
    obj = state.objects[kind]
    offset = np.abs(obj.position[:2] - np.asarray(state.container_xy))
    if state.container == "bin":
        inside = float(offset.max()) <= BIN_HALF_M - CONTAINER_INSET_M
    else:
        inside = float(np.hypot(*offset)) <= PLATE_RADIUS_M - CONTAINER_INSET_M
    low = float(obj.position[2]) < CONTAINER_HEIGHT_M
    return inside and low and obj.speed_m_s < STILL_M_S and not obj.touched


def distance_xy_m(state: TrayState, other: TrayState, kind: str) -> float:
    """How far an object lies from its place in another state, in the plane."""
    return float(np.linalg.norm(state.objects[kind].position[:2] - other.objects[kind].position[:2]))


def grasped(state: TrayState, assignment: Assignment) -> bool:
    return is_lifted(state.objects[assignment.target])


def rearranged(state: TrayState, assignment: Assignment) -> bool:
    if assignment.goal is None or state.objects[assignment.target].held:
        return False
    return all(distance_xy_m(state, assignment.goal, kind) <= REARRANGE_TOLERANCE_M for kind in state.objects)


def placed(state: TrayState, assignment: Assignment) -> bool:
    return is_contained(state, assignment.target) and _others_stayed(state, assignment)


def _others_stayed(state: TrayState, assignment: Assignment) -> bool:
    others = (kind for kind in state.objects if kind != assignment.target)
    return all(distance_xy_m(state, assignment.start, kind) <= MAX_OTHERS_MOVE_M for kind in others)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("instance_grasping", grasped),
        Task("rearrangement", rearranged, target_moves=True),
        Task("container_placing", placed, target_moves=True, needs_container=True),
        Task("grasp_box", grasped, target="box"),
        Task("grasp_banana", grasped, target="banana"),
        Task("grasp_milk", grasped, target="milk"),
    )
}


def is_fair_goal(task: Task, assignment: Assignment) -> bool:
    """Whether a goal may be shown: the rule holds on it and not at the start.

    Where the target has to move, it did so by 6 cm or more, and it alone: no accident of the script is asked for.
    """
    if assignment.goal is None:
        return False
    if not task.rule(assignment.goal, assignment) or task.rule(assignment.start, assignment):
        return False
    if not task.target_moves:
        return True
    moved = distance_xy_m(assignment.goal, assignment.start, assignment.target)
    return moved >= MIN_TARGET_MOVE_M and _others_stayed(assignment.goal, assignment)
