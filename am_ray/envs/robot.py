"""Two arms with one interface: the Franka Panda, and a gantry hand that is cheaper to simulate.

The tool point lies between the finger pads, 8 mm above the finger tips. At yaw 0 the fingers close along y.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from am_ray.envs.assets import Part, box_inertia, urdf_link, write_once
from am_ray.envs.sim import FloatArray, Simulation, stock_folder

FINGER_TRAVEL_M = 0.04
FINGER_FORCE_N = 50.0  # 5 N and less drop things; 40 to 60 measured as good
FINGER_FRICTION = 1.2
FINGER_SPEED_M_S = 0.6  # closes within one action
ARM_GAIN = 0.25
SUBSTEPS = 20  # 10 or fewer per action grasp worse
WAYPOINTS = 4  # the arm is led along a line instead of being thrown at the action's end
YAW_LIMIT_RAD = 1.9
WORKSPACE_LOW_M = np.array([-0.15, -0.15, 0.012])
WORKSPACE_HIGH_M = np.array([0.15, 0.15, 0.26])

_PANDA_BASE_M = (-0.54, 0.0, -0.01)
_PANDA_REST_RAD = (0.0, 0.25, 0.0, -2.35, 0.0, 2.6, 0.785)
ARMS = ("panda", "gantry")
_GANTRY_FORCE_N = 400.0


@dataclass(frozen=True)
class GripperPose:
    """Tool point ``(3,)`` in metres, yaw in radians, distance between the fingers in metres."""

    position: FloatArray
    yaw_rad: float
    width_m: float


class Robot:
    """An arm in a `Simulation`; loads itself into the emptied world.

    Args:
        sim: The world.
        arm: ``panda`` or ``gantry``.
    """

    def __init__(self, sim: Simulation, arm: str) -> None:
        self._sim = sim
        self.is_panda = arm == "panda"
        path = panda_urdf() if self.is_panda else gantry_urdf()
        base = _PANDA_BASE_M if self.is_panda else (0.0, 0.0, 0.0)
        self.body = sim.load(path, base, fixed=True)
        joints = sim.joints(self.body)
        if self.is_panda:
            self._arm_joints = [joints[f"panda_joint{i}"] for i in range(1, 8)]
            self._tool = joints["panda_grasptarget_hand"]
            self.fingers = (joints["panda_finger_joint1"], joints["panda_finger_joint2"])
            self._forces = [240.0] * 4 + [120.0] * 3
        else:
            self._arm_joints = [joints[name] for name in ("x", "y", "z", "yaw")]
            self._tool = joints["tool"]
            self.fingers = (joints["left"], joints["right"])
            self._forces = [_GANTRY_FORCE_N] * 4
        for finger in self.fingers:
            sim.set_friction(self.body, finger, FINGER_FRICTION)
        # equal travel of both fingers, as in the real hand: otherwise the held object drifts between them
        sim.gear(self.body, *self.fingers, ratio=-1.0, force=FINGER_FORCE_N)

    def place(self, position: FloatArray, yaw_rad: float) -> None:
        """Teleports the tool to a pose, at rest, with open fingers."""
        if self.is_panda:
            self._sim.set_joints(self.body, self._arm_joints, _PANDA_REST_RAD)
            for _ in range(8):  # each solution starts from the last one, so the pose converges
                self._sim.set_joints(self.body, self._arm_joints, self._solve(position, yaw_rad))
        else:
            self._sim.set_joints(self.body, self._arm_joints, [*position, yaw_rad])
        self._sim.set_joints(self.body, self.fingers, [FINGER_TRAVEL_M] * 2)
        self._drive_fingers(FINGER_TRAVEL_M)
        self._drive_arm(self._sim.joint_positions(self.body, self._arm_joints))

    def pose(self) -> GripperPose:
        position, rotation = self._sim.link_pose(self.body, self._tool)
        width = float(self._sim.joint_positions(self.body, self.fingers).sum())
        return GripperPose(position, math.atan2(rotation[1, 0], rotation[0, 0]), width)

    def move(self, delta_m: FloatArray, delta_yaw_rad: float, *, close: bool) -> None:
        """Moves the tool from where it is, for `SUBSTEPS` physics steps, within the workspace."""
        pose = self.pose()
        goal = np.clip(pose.position + delta_m, WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        yaw = min(max(pose.yaw_rad + delta_yaw_rad, -YAW_LIMIT_RAD), YAW_LIMIT_RAD)
        start = self._sim.joint_positions(self.body, self._arm_joints)
        end = self._solve(goal, yaw) if self.is_panda else np.array([*goal, yaw])
        self._drive_fingers(0.0 if close else FINGER_TRAVEL_M)
        steps = SUBSTEPS // (WAYPOINTS + 1)
        for waypoint in range(1, WAYPOINTS + 1):
            self._drive_arm(start + (end - start) * (waypoint / WAYPOINTS))
            self._sim.step(steps)
        self._sim.step(SUBSTEPS - WAYPOINTS * steps)

    def finger_contacts(self) -> tuple[frozenset[int], frozenset[int]]:
        """Bodies that each finger touches."""
        left, right = self.fingers
        return self._sim.touched_by(self.body, left), self._sim.touched_by(self.body, right)

    def contacts(self) -> frozenset[int]:
        """Bodies that any part of the robot touches."""
        return self._sim.touched_by(self.body)

    def _solve(self, position: FloatArray, yaw_rad: float) -> FloatArray:
        down = (math.cos(yaw_rad / 2), math.sin(yaw_rad / 2), 0.0, 0.0)  # Rz(yaw) Rx(pi): the hand looks down
        return self._sim.inverse_kinematics(self.body, self._tool, position, down, len(self._arm_joints))

    def _drive_arm(self, joints: FloatArray) -> None:
        self._sim.drive_joints(self.body, self._arm_joints, joints, forces=self._forces, gain=ARM_GAIN)

    def _drive_fingers(self, travel_m: float) -> None:
        for finger in self.fingers:
            self._sim.drive_joint(self.body, finger, travel_m, force=FINGER_FORCE_N, max_velocity=FINGER_SPEED_M_S)


@cache
def panda_urdf() -> Path:
    """The wheel's Panda with collision meshes shown instead of visual ones (100 k -> 3.4 k triangles).

    Rendering time follows the number of triangles: 62 -> 520 images/s at 64 px.
    """
    folder = stock_folder() / "franka_panda"
    text = (folder / "panda.urdf").read_text()
    text = text.replace("meshes/visual/", "meshes/collision/").replace("package://", f"{folder}{os.sep}")
    return write_once("panda", ".urdf", text)


@cache
def gantry_urdf() -> Path:
    """A hand on four virtual joints (x, y, z, yaw) with two fingers."""
    dark, light, pad = (0.25, 0.27, 0.30), (0.85, 0.86, 0.88), (0.15, 0.15, 0.17)
    hand = [
        Part(color=light, size=(0.05, 0.15, 0.05), xyz=(0.0, 0.0, 0.07)),
        Part(color=dark, size=(0.035, 0.035, 0.16), xyz=(0.0, 0.0, 0.175), collision=False),
    ]
    links = [
        urdf_link("base", 1.0, (0.01, 0.01, 0.01), []),
        *(urdf_link(f"{axis}_link", 1.0, (0.01, 0.01, 0.01), []) for axis in "xyz"),
        urdf_link("hand", 0.8, box_inertia(0.8, (0.05, 0.15, 0.05)), hand, com=(0.0, 0.0, 0.07)),
        urdf_link("tool_link", 0.001, (1e-6, 1e-6, 1e-6), []),
    ]
    joints = [
        _joint("x", "prismatic", "base", "x_link", (1, 0, 0), (-0.3, 0.3)),
        _joint("y", "prismatic", "x_link", "y_link", (0, 1, 0), (-0.3, 0.3)),
        _joint("z", "prismatic", "y_link", "z_link", (0, 0, 1), (-0.1, 0.5)),
        _joint("yaw", "revolute", "z_link", "hand", (0, 0, 1), (-3.2, 3.2)),
        _joint("tool", "fixed", "hand", "tool_link", (0, 0, 1), (0, 0)),
    ]
    for name, side in (("left", 1), ("right", -1)):
        finger = Part(color=pad, size=(0.02, 0.012, 0.054), xyz=(0.0, side * 0.006, 0.019))
        inertia = (2e-4, 2e-4, 2e-4)  # larger than the true one: light fingers shake under 50 N
        links.append(urdf_link(f"{name}_finger", 0.1, inertia, [finger], com=(0.0, side * 0.006, 0.019)))
        joints.append(_joint(name, "prismatic", "hand", f"{name}_finger", (0, side, 0), (0.0, FINGER_TRAVEL_M)))
    body = "\n".join([*links, *joints])
    return write_once("gantry", ".urdf", f'<?xml version="1.0"?>\n<robot name="gantry">\n{body}\n</robot>\n')


def _joint(name: str, kind: str, parent: str, child: str, axis: Sequence[int], limits: tuple[float, float]) -> str:
    x, y, z = axis
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/><axis xyz="{x} {y} {z}"/>'
        f'<limit lower="{limits[0]}" upper="{limits[1]}" effort="{_GANTRY_FORCE_N}" velocity="5"/></joint>'
    )
