"""Scripted skills that read the simulator's truth: the source of data, goals and the oracle row.

A skill is a generator of noise-free actions, written as a sequence of phases; `ScriptedPolicy` adds the action noise
and holds still when the skill is over. Two dials set the quality of data: ``target_error_m`` moves each grasp once per
episode (yaw error in radians is 12 times as large), ``action_std`` is added to the four motion entries at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from am_ray.envs.objects import BIN_WALL_M, ObjectKind, find_kind
from am_ray.envs.sim import FloatArray
from am_ray.envs.tray import ACTION_SCALE_M, ACTION_SCALE_RAD, Tray

Action = npt.NDArray[np.float32]
Skill = Callable[[Tray, np.random.Generator], Iterator[Action]]

YAW_ERROR_RAD_PER_M = 12.0
TRAVEL_M = 0.125  # finger tips pass over a standing carton
LIFT_TO_M = 0.16
FINGER_DEPTH_M = 0.038  # from the tool point up to the palm
TIP_M = 0.008  # finger tips below the tool point


@dataclass(frozen=True)
class Grip:
    """Where to close the fingers."""

    position: FloatArray
    yaw_rad: float


class ScriptedPolicy:
    """Plays a skill with action noise, then holds still with the fingers as they are.

    Args:
        skill: The skill.
        action_std: Noise of the motion entries; half of it while holding still.
    """

    def __init__(self, skill: Skill, *, action_std: float = 0.0) -> None:
        self._skill, self._std = skill, action_std
        self._steps: Iterator[Action] | None = None
        self._close = -1.0
        self.finished = False

    def act(self, tray: Tray, rng: np.random.Generator) -> Action:
        """The next action ``(5,)`` in [-1, 1]."""
        if self._steps is None:
            self._steps = self._skill(tray, rng)
        action = None if self.finished else next(self._steps, None)
        if action is None:
            self.finished = True
            action = np.array([0, 0, 0, 0, self._close], dtype=np.float32)
        self._close = float(action[4])
        std = self._std * (0.5 if self.finished else 1.0)
        if std > 0.0:
            action[:4] += rng.normal(0.0, std, size=4).astype(np.float32)
        return np.clip(action, -1.0, 1.0).astype(np.float32)


def wait(count: int, *, close: bool) -> Iterator[Action]:
    for _ in range(count):
        yield np.array([0, 0, 0, 0, 1.0 if close else -1.0], dtype=np.float32)


def go(
    tray: Tray, target: FloatArray, yaw_rad: float, *, close: bool, near_m: float = 0.006, limit: int = 9
) -> Iterator[Action]:
    """Moves the tool to a pose, each axis at full speed, until it is nearer than ``near_m``."""
    for _ in range(limit):
        pose = tray.robot.pose()
        error, turn = target - pose.position, yaw_rad - pose.yaw_rad
        if np.abs(error).max() < near_m and abs(turn) < 15 * near_m:
            return
        motion = np.clip([*(error / ACTION_SCALE_M), turn / ACTION_SCALE_RAD], -1.0, 1.0)
        yield np.array([*motion, 1.0 if close else -1.0], dtype=np.float32)


def find_grip(tray: Tray, kind_name: str) -> Grip:
    """The grasp of an object as it lies: across its narrow side, high enough that the palm stays clear."""
    kind, obj, pose = find_kind(kind_name), tray.truth().objects[kind_name], tray.robot.pose()
    upright = int(np.argmax(np.abs(obj.rotation[2])))
    if kind.round_about_z and upright == 2:
        yaw = pose.yaw_rad
    else:
        axes = _closing_axes(kind, upright)
        angles = [math.atan2(obj.rotation[1, a], obj.rotation[0, a]) - math.pi / 2 for a in axes]
        yaws = [nearest_half_turn(angle, pose.yaw_rad) for angle in angles]
        yaw = min(yaws, key=lambda y: abs(y - pose.yaw_rad))
    centre = obj.position + obj.rotation @ np.asarray(kind.grasp_point)
    top = float(obj.position[2]) + kind.size[upright] / 2
    height = max(float(obj.position[2]), top - FINGER_DEPTH_M, 0.014)
    return Grip(np.array([centre[0], centre[1], height]), yaw)


def _closing_axes(kind: ObjectKind, upright: int) -> list[int]:
    if kind.closing_axis is not None and upright == 2:
        return [kind.closing_axis]
    sides = [axis for axis in range(3) if axis != upright]
    narrow = min(kind.size[axis] for axis in sides)
    return [axis for axis in sides if kind.size[axis] < narrow + 1e-3]


def nearest_half_turn(angle_rad: float, reference_rad: float) -> float:
    """The angle, up to half turns (the hand is symmetric), nearest to a reference and within +-1.8 rad."""
    base = (angle_rad + math.pi / 2) % math.pi - math.pi / 2
    options = [y for y in (base - math.pi, base, base + math.pi) if abs(y) <= 1.8]
    return min(options, key=lambda y: abs(y - reference_rad))


def draw_error(rng: np.random.Generator, target_error_m: float) -> tuple[FloatArray, float]:
    """An error of the grasp's place ``(2,)`` and of its yaw."""
    if target_error_m == 0.0:
        return np.zeros(2), 0.0
    return rng.normal(0.0, target_error_m, size=2), float(rng.normal(0.0, YAW_ERROR_RAD_PER_M * target_error_m))


def reach(tray: Tray, kind: str, offset: FloatArray, yaw_error_rad: float) -> Iterator[Action]:
    """Opens the hand around an object."""
    shift = np.array([offset[0], offset[1], 0.0])
    grip = find_grip(tray, kind)
    above = grip.position + shift
    above[2] = max(TRAVEL_M, tray.robot.pose().position[2] - 0.05)
    yield from go(tray, above, grip.yaw_rad + yaw_error_rad, close=False, near_m=0.013)
    grip = find_grip(tray, kind)
    yield from go(tray, grip.position + shift, grip.yaw_rad + yaw_error_rad, close=False)


def pick(
    tray: Tray, kind: str, offset: FloatArray, yaw_error_rad: float, *, lift_to_m: float = LIFT_TO_M
) -> Iterator[Action]:
    """Reaches, closes and lifts."""
    yield from reach(tray, kind, offset, yaw_error_rad)
    yield from wait(1, close=True)
    pose = tray.robot.pose()
    yield from go(tray, np.array([*pose.position[:2], lift_to_m]), pose.yaw_rad, close=True, near_m=0.012)


def place(tray: Tray, kind: str, xy: FloatArray, *, in_container: bool, offset: FloatArray) -> Iterator[Action]:
    """Carries a held object over a place, lowers it, lets go and retracts."""
    truth = tray.truth()
    obj, pose = truth.objects[kind], truth.gripper
    size = find_kind(kind).size
    upright = int(np.argmax(np.abs(obj.rotation[2])))
    bottom = float(pose.position[2] - obj.position[2]) + size[upright] / 2  # tool point over the object's underside
    yaw = pose.yaw_rad
    if in_container and max(size) > 0.1:  # a long object goes along the diagonal
        yaw = min((nearest_half_turn(s * math.pi / 4, yaw) for s in (-1, 1)), key=lambda y: abs(y - pose.yaw_rad))
    hold = _turned(obj.position[:2] - pose.position[:2], yaw - pose.yaw_rad)
    aim = np.asarray(xy) - hold + offset
    clearance = (BIN_WALL_M + 0.02 if in_container else 0.03) + bottom
    yield from go(tray, np.array([*aim, max(clearance, LIFT_TO_M)]), yaw, close=True, near_m=0.012)
    floor = max(0.014 + bottom, BIN_WALL_M + TIP_M + 0.004) if in_container else max(0.003 + bottom, 0.013)
    yield from go(tray, np.array([*aim, floor]), yaw, close=True, near_m=0.008)
    yield from wait(1, close=False)
    yield from go(tray, np.array([*tray.robot.pose().position[:2], 0.19]), yaw, close=False, near_m=0.015)


def _turned(vector: FloatArray, angle_rad: float) -> FloatArray:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
