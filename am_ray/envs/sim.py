"""A thin, typed layer over PyBullet: the only module of the package that imports it.

One `Simulation` is one physics client. It cannot be pickled: build it inside the process or actor that uses it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from am_ray.types import EnvironmentContractError

FloatArray = npt.NDArray[np.float64]

TIME_STEP_S = 1 / 240
SOLVER_ITERATIONS = 20  # 10 still grasps but slips more; 50 costs twice the time for nothing (measured)
GRAVITY_M_S2 = -9.81


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Sends file descriptor 2 to nowhere: PyBullet prints its build time from C; real import errors still raise."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


with _quiet_stderr():
    import pybullet


def stock_folder() -> Path:
    """Where the wheel keeps the robots that it ships."""
    import pybullet_data

    return Path(pybullet_data.getDataPath())


@dataclass(frozen=True)
class Camera:
    """A fixed camera. ``eye``, ``target`` in metres, ``fov_deg`` vertical."""

    eye: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_deg: float


@dataclass(frozen=True)
class Light:
    """Light of the software renderer; shadows cost 1.6 to 1.9 times the time of a frame."""

    direction: tuple[float, float, float] = (0.6, -0.5, 1.4)
    ambient: float = 0.52
    diffuse: float = 0.45
    specular: float = 0.05
    shadow: bool = False


class Simulation:
    """One physics world at 240 Hz.

    Raises:
        EnvironmentContractError: PyBullet was built without NumPy, so that images would be tuples.
    """

    def __init__(self) -> None:
        if not pybullet.isNumpyEnabled():
            raise EnvironmentContractError(
                "pybullet: built without NumPy (isNumpyEnabled() = 0); expected a build with it, since camera images "
                "would arrive as tuples. Install the wheel: pip install --only-binary :all: pybullet==3.2.7"
            )
        self._client: int = pybullet.connect(pybullet.DIRECT)

    def close(self) -> None:
        """Ends the client; calling it twice is harmless."""
        if self._client >= 0 and pybullet.isConnected(self._client):
            pybullet.disconnect(self._client)
        self._client = -1

    def clear(self) -> None:
        """Empties the world and sets every physics parameter again: the same start, bit for bit, each time."""
        pybullet.resetSimulation(physicsClientId=self._client)
        pybullet.setPhysicsEngineParameter(
            fixedTimeStep=TIME_STEP_S,
            numSolverIterations=SOLVER_ITERATIONS,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        pybullet.setGravity(0, 0, GRAVITY_M_S2, physicsClientId=self._client)

    def load(
        self,
        urdf: Path,
        position: Sequence[float] = (0, 0, 0),
        yaw_rad: float = 0.0,
        *,
        fixed: bool = False,
        self_collision: bool = False,
    ) -> int:
        """Adds a body whose inertial frame is its link frame; returns its number."""
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE
        if self_collision:
            flags |= pybullet.URDF_USE_SELF_COLLISION
        body: int = pybullet.loadURDF(
            str(urdf),
            basePosition=list(position),
            baseOrientation=[0.0, 0.0, float(np.sin(yaw_rad / 2)), float(np.cos(yaw_rad / 2))],
            useFixedBase=fixed,
            flags=flags,
            physicsClientId=self._client,
        )
        return body

    def set_friction(
        self,
        body: int,
        link: int,
        lateral: float,
        *,
        spinning: float = 0.01,
        rolling: float = 0.0,
        damping: float = 0.04,
    ) -> None:
        pybullet.changeDynamics(
            body,
            link,
            lateralFriction=lateral,
            spinningFriction=spinning,
            rollingFriction=rolling,
            restitution=0.0,
            linearDamping=damping,
            angularDamping=damping,
            physicsClientId=self._client,
        )

    def joints(self, body: int) -> dict[str, int]:
        """Joint name to number; a joint's number is its child link's number."""
        count = pybullet.getNumJoints(body, physicsClientId=self._client)
        infos = [pybullet.getJointInfo(body, i, physicsClientId=self._client) for i in range(count)]
        return {info[1].decode(): info[0] for info in infos}

    def joint_positions(self, body: int, joints: Sequence[int]) -> FloatArray:
        return np.array([s[0] for s in pybullet.getJointStates(body, joints, physicsClientId=self._client)])

    def set_joints(self, body: int, joints: Sequence[int], positions: Sequence[float] | FloatArray) -> None:
        """Teleports joints, at rest."""
        for joint, position in zip(joints, positions, strict=True):
            pybullet.resetJointState(body, joint, float(position), 0.0, physicsClientId=self._client)

    def drive_joints(
        self, body: int, joints: Sequence[int], positions: FloatArray, *, forces: Sequence[float], gain: float
    ) -> None:
        """Position control of several joints."""
        pybullet.setJointMotorControlArray(
            body,
            joints,
            pybullet.POSITION_CONTROL,
            targetPositions=positions,
            forces=forces,
            positionGains=[gain] * len(joints),
            physicsClientId=self._client,
        )

    def drive_joint(self, body: int, joint: int, position: float, *, force: float, max_velocity: float) -> None:
        """Position control of one joint under a velocity limit (m/s)."""
        pybullet.setJointMotorControl2(
            body,
            joint,
            pybullet.POSITION_CONTROL,
            targetPosition=position,
            force=force,
            positionGain=0.25,
            maxVelocity=max_velocity,
            physicsClientId=self._client,
        )

    def gear(self, body: int, first: int, second: int, *, ratio: float, force: float) -> None:
        """Couples two joints of a body, so that they move alike (``ratio`` -1)."""
        constraint = pybullet.createConstraint(
            body,
            first,
            body,
            second,
            pybullet.JOINT_GEAR,
            [1, 0, 0],
            [0, 0, 0],
            [0, 0, 0],
            physicsClientId=self._client,
        )
        pybullet.changeConstraint(constraint, gearRatio=ratio, erp=0.1, maxForce=force, physicsClientId=self._client)

    def step(self, count: int) -> None:
        for _ in range(count):
            pybullet.stepSimulation(physicsClientId=self._client)

    def pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Position ``(3,)`` in metres and rotation matrix ``(3, 3)``."""
        position, quaternion = pybullet.getBasePositionAndOrientation(body, physicsClientId=self._client)
        return np.array(position), np.array(pybullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)

    def speed(self, body: int) -> float:
        """Of the centre of mass, m/s."""
        return float(np.linalg.norm(pybullet.getBaseVelocity(body, physicsClientId=self._client)[0]))

    def link_pose(self, body: int, link: int) -> tuple[FloatArray, FloatArray]:
        """Like `pose`, for a link's URDF frame."""
        state = pybullet.getLinkState(body, link, computeForwardKinematics=True, physicsClientId=self._client)
        return np.array(state[4]), np.array(pybullet.getMatrixFromQuaternion(state[5])).reshape(3, 3)

    def touched_by(self, body: int, link: int | None = None) -> frozenset[int]:
        """Bodies in contact (with a normal force) with a body, or with one of its links."""
        where: dict[str, Any] = {} if link is None else {"linkIndexA": link}
        points = pybullet.getContactPoints(bodyA=body, physicsClientId=self._client, **where)
        return frozenset(int(point[2]) for point in points if point[9] > 0.0)

    def inverse_kinematics(
        self, body: int, link: int, position: FloatArray, quaternion: Sequence[float], num_joints: int
    ) -> FloatArray:
        """Joint positions that bring a link to a pose, from the present ones."""
        solution = pybullet.calculateInverseKinematics(
            body,
            link,
            position.tolist(),
            quaternion,
            maxNumIterations=60,
            residualThreshold=1e-5,
            physicsClientId=self._client,
        )
        return np.array(solution[:num_joints])

    def render(self, camera: Camera, width: int, height: int, light: Light) -> npt.NDArray[np.uint8]:
        """An image ``(h, w, 3)`` uint8 from the software renderer: the same on every machine with this wheel."""
        view = pybullet.computeViewMatrix(camera.eye, camera.target, (0, 0, 1))
        projection = pybullet.computeProjectionMatrixFOV(camera.fov_deg, width / height, 0.05, 3.0)
        pixels = pybullet.getCameraImage(
            width,
            height,
            view,
            projection,
            shadow=int(light.shadow),
            lightDirection=light.direction,
            lightAmbientCoeff=light.ambient,
            lightDiffuseCoeff=light.diffuse,
            lightSpecularCoeff=light.specular,
            lightColor=(1, 1, 1),
            renderer=pybullet.ER_TINY_RENDERER,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            physicsClientId=self._client,
        )[2]
        return np.ascontiguousarray(np.asarray(pixels, dtype=np.uint8).reshape(height, width, 4)[..., :3])
