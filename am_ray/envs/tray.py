"""The world itself: a tray with objects, a container, an arm and a camera. No tasks, no goals, no episodes.

Collection and the Gymnasium environment both stand on it. Build it inside the process that uses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from am_ray.envs.layout import Layout
from am_ray.envs.objects import CONTAINERS, container_urdf, find_kind, object_urdf, tray_urdf
from am_ray.envs.robot import ARMS, GripperPose, Robot
from am_ray.envs.sim import Camera, FloatArray, Light, Simulation
from am_ray.types import STATE, SettingsError

FRONT = "front"
OBSERVATIONS = ("state", "image", "image_gripper", "both")
ACTION_DIM = 5
ACTION_SCALE_M = 0.05
ACTION_SCALE_RAD = 0.6
SETTLE_STEPS = 40
OBSERVATION_CAMERA = Camera(eye=(0.40, 0.0, 0.52), target=(0.0, 0.0, 0.045), fov_deg=42.0)
DAYLIGHT = Light()
STATE_BOUND = 2.0  # metres; no object on the table is further away
_OUTSIDE_M = 0.2

Image = npt.NDArray[np.uint8]
Observation = dict[str, npt.NDArray[np.float32] | Image]


@dataclass(frozen=True)
class ObjectState:
    """Truth about one object.

    Attributes:
        position: Centre of mass ``(3,)``, metres.
        rotation: ``(3, 3)``.
        speed_m_s: Of the centre of mass.
        rest_height_m: Its height when the episode began, before any action.
        held: Both fingers touch it.
        touched: Any part of the robot touches it.
    """

    position: FloatArray
    rotation: FloatArray
    speed_m_s: float
    rest_height_m: float
    held: bool
    touched: bool


@dataclass(frozen=True)
class TrayState:
    """Truth about the tray, for success rules and scripted policies; never a network's input."""

    gripper: GripperPose
    container: str | None
    container_xy: tuple[float, float] | None
    objects: dict[str, ObjectState]


class Tray:
    """A tray of fixed kinds, arm and container, whose content changes with each `reset`.

    Args:
        arm: ``panda`` or ``gantry``.
        kinds: Object kinds with a slot in the state; an episode may hold a part of them.
        container: ``bin``, ``plate`` or ``None``.
        observation: ``state``, ``image``, ``both``, or ``image_gripper``: the image, and as ``state`` the gripper's
            pose and opening. QT-Opt's network is given its height and opening; the camera here often does not see the hand.
        image_size: Height and width of the image in pixels.
    """

    def __init__(
        self,
        *,
        arm: str = "panda",
        kinds: Sequence[str] = ("box", "banana", "milk"),
        container: str | None = "bin",
        observation: str = "state",
        image_size: int = 64,
    ) -> None:
        _check("arm", arm, ARMS)
        _check("container", container, (None, *CONTAINERS))
        _check("observation", observation, OBSERVATIONS)
        self.kinds = tuple(find_kind(kind).name for kind in kinds)
        if len(set(self.kinds)) < len(self.kinds):
            raise SettingsError(f"kinds: got {list(kinds)}; expected each kind at most once, since each has one slot.")
        self.arm, self.container, self.observation, self.image_size = arm, container, observation, image_size
        self.sim = Simulation()
        self._bodies: dict[str, int] = {}
        self._rest_heights: dict[str, float] = {}
        self._container_xy: tuple[float, float] | None = None

    def close(self) -> None:
        self.sim.close()

    def reset(self, layout: Layout) -> None:
        """Builds the world anew: the same bits for the same layout, whatever happened before."""
        self.sim.clear()
        self.sim.load(tray_urdf(), fixed=True)
        self._container_xy = layout.container_xy
        if self.container is not None and layout.container_xy is not None:
            self.sim.load(container_urdf(self.container), (*layout.container_xy, 0.0), fixed=True)
        self._bodies = {}
        for placement in layout.objects:
            kind = find_kind(placement.kind)
            position = (*placement.xy, kind.size[2] / 2 + 0.0005)
            body = self.sim.load(object_urdf(kind, placement.color), position, placement.yaw_rad)
            self.sim.set_friction(body, -1, 1.0, rolling=kind.rolling)
            self._bodies[placement.kind] = body
        self.robot = Robot(self.sim, self.arm)
        self.robot.place(np.asarray(layout.gripper_m), layout.gripper_yaw_rad)
        self.sim.step(SETTLE_STEPS)
        self._rest_heights = {name: float(self.sim.pose(body)[0][2]) for name, body in self._bodies.items()}

    def step(self, action: npt.NDArray[np.floating]) -> None:
        """One action ``(5,)`` in [-1, 1]: xyz in units of 5 cm, yaw of 0.6 rad, gripper (> 0 closes); clipped."""
        clipped = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        self.robot.move(clipped[:3] * ACTION_SCALE_M, float(clipped[3]) * ACTION_SCALE_RAD, close=bool(clipped[4] > 0))

    def truth(self) -> TrayState:
        """The simulator's state."""
        left, right = self.robot.finger_contacts()
        touched = self.robot.contacts()
        objects = {}
        for name, body in self._bodies.items():
            position, rotation = self.sim.pose(body)
            objects[name] = ObjectState(
                position=position,
                rotation=rotation,
                speed_m_s=self.sim.speed(body),
                rest_height_m=self._rest_heights[name],
                held=body in left and body in right,
                touched=body in touched,
            )
        return TrayState(self.robot.pose(), self.container, self._container_xy, objects)

    def observe(self, light: Light = DAYLIGHT) -> Observation:
        """The present observation: ``state``, ``front`` or both, by the tray's setting; `state_names` says what ``state`` is."""
        observed: Observation = {}
        if self.observation != "image":
            observed[STATE] = self.state_vector()
        if self.observation != "state":
            observed[FRONT] = self.image(light)
        return observed

    def state_vector(self) -> npt.NDArray[np.float32]:
        """``(s,)`` float32 in metres; `state_names` names the entries."""
        pose = self.robot.pose()
        values = [*pose.position, math.sin(pose.yaw_rad), math.cos(pose.yaw_rad), pose.width_m]
        if self.observation == "image_gripper":
            return np.array(values, dtype=np.float32)
        values += [0.0, 0.0, 0.0] if self._container_xy is None else [1.0, *self._container_xy]
        for name in self.kinds:
            if name in self._bodies:
                position, rotation = self.sim.pose(self._bodies[name])
                values += [1.0, *position, *rotation[:, 0], *rotation[:, 1]]
            else:
                values += [0.0] * 10
        return np.clip(np.array(values, dtype=np.float32), -STATE_BOUND, STATE_BOUND)

    def state_names(self) -> tuple[str, ...]:
        """A name for each entry of the state: gripper, container, then a slot per kind; or the gripper alone.

        Rotations are the first two columns of the rotation matrix; absent things are all zeros.
        """
        names = ["gripper_x", "gripper_y", "gripper_z", "gripper_sin_yaw", "gripper_cos_yaw", "gripper_width"]
        if self.observation == "image_gripper":
            return tuple(names)
        names += ["container_present", "container_x", "container_y"]
        for kind in self.kinds:
            names += [f"{kind}_{part}" for part in ("present", "x", "y", "z")]
            names += [f"{kind}_r{row}{column}" for column in range(2) for row in range(3)]
        return tuple(names)

    def image(self, light: Light = DAYLIGHT) -> Image:
        """What the fixed camera sees, ``(h, w, 3)`` uint8."""
        return self.sim.render(OBSERVATION_CAMERA, self.image_size, self.image_size, light)

    def left_tray(self) -> bool:
        """Whether an object lies outside; such an episode is flagged."""
        positions = [self.sim.pose(body)[0] for body in self._bodies.values()]
        return any(bool(np.abs(p[:2]).max() > _OUTSIDE_M) or bool(p[2] < -0.02) for p in positions)


def _check(name: str, got: object, allowed: Sequence[object]) -> None:
    if got not in allowed:
        listed = ", ".join(map(str, allowed))
        raise SettingsError(f"tray setting {name}: got {got!r}; expected one of {listed}. Correct the value.")
