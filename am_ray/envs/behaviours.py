"""What the data's robot does: skilled, clumsy and aimless behaviours, and the mixture that a recipe draws from.

Near-expert data makes goal-conditioned cloning look solved; the paper's data came from many unrelated runs. So the
reference data mix wandering, pushing, failed and successful grasps, drops, placements and regrasps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from am_ray.envs.goals import draw_free_place
from am_ray.envs.robot import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from am_ray.envs.scripted import Action, Skill, draw_error, go, pick, place, wait
from am_ray.envs.sim import FloatArray
from am_ray.envs.tasks import MIN_TARGET_MOVE_M, distance_xy_m, is_contained, is_lifted
from am_ray.envs.tray import Tray, TrayState


@dataclass(frozen=True)
class Job:
    """What a behaviour is told: the object, the grasp's error and the truth at the start."""

    target: str
    offset: FloatArray
    yaw_error_rad: float
    target_error_m: float
    start: TrayState


@dataclass(frozen=True)
class Behaviour:
    """One behaviour.

    Attributes:
        name: Its key in a recipe's mixture.
        play: Its actions.
        outcome: Whether it has done what it is for, ``(now, start, target)``.
        starts_held: The recording begins with the target in the hand.
        needs_container: It makes no sense without one.
    """

    name: str
    play: Callable[[Tray, np.random.Generator, Job], Iterator[Action]]
    outcome: Callable[[TrayState, TrayState, str], bool]
    starts_held: bool = False
    needs_container: bool = False


def was_moved(now: TrayState, start: TrayState, target: str) -> bool:
    """The target lies 6 cm or more from where it was, let go of."""
    return distance_xy_m(now, start, target) >= MIN_TARGET_MOVE_M and not now.objects[target].held


def _lifted(now: TrayState, start: TrayState, target: str) -> bool:
    return is_lifted(now.objects[target])


def _contained(now: TrayState, start: TrayState, target: str) -> bool:
    return is_contained(now, target)


def _never(now: TrayState, start: TrayState, target: str) -> bool:
    return False


def _draw_pose(rng: np.random.Generator, low_m: float = 0.10) -> tuple[FloatArray, float]:
    position = rng.uniform(WORKSPACE_LOW_M + 0.02, WORKSPACE_HIGH_M - 0.02)
    position[2] = rng.uniform(low_m, 0.20)
    return position, float(rng.uniform(-1.5, 1.5))


def _grasp(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    yield from pick(tray, job.target, job.offset, job.yaw_error_rad, lift_to_m=float(rng.uniform(0.14, 0.19)))
    if rng.random() < 0.4:
        position, yaw = _draw_pose(rng, low_m=0.15)
        yield from go(tray, position, yaw, close=True, near_m=0.02, limit=int(rng.integers(2, 7)))


def _put_in(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    xy = np.asarray(tray.truth().container_xy)
    yield from place(tray, job.target, xy, in_container=True, offset=job.offset)


def _put_down(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    xy = draw_free_place(job.start, job.target, rng, min_move_m=MIN_TARGET_MOVE_M + 0.01)
    aim = tray.robot.pose().position[:2] if xy is None else xy
    yield from place(tray, job.target, aim, in_container=False, offset=job.offset)


def _place(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    yield from pick(tray, job.target, job.offset, job.yaw_error_rad)
    yield from _put_in(tray, rng, job)


def _rearrange(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    yield from pick(tray, job.target, job.offset, job.yaw_error_rad)
    yield from _put_down(tray, rng, job)


def _push(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    centre = tray.truth().objects[job.target].position
    angle = math.atan2(-centre[1], -centre[0]) + float(rng.uniform(-1.2, 1.2))  # inwards, more or less
    direction = np.array([math.cos(angle), math.sin(angle), 0.0])
    behind, ahead = centre - 0.075 * direction, centre + float(rng.uniform(0.0, 0.07)) * direction
    behind[:2] += job.offset
    low = float(rng.uniform(0.015, 0.03))
    yaw = float(rng.uniform(-0.8, 0.8))
    close = bool(rng.random() < 0.7)
    yield from go(tray, np.array([*behind[:2], 0.12]), yaw, close=close, near_m=0.015)
    yield from go(tray, np.array([*behind[:2], low]), yaw, close=close, near_m=0.015, limit=4)
    yield from go(tray, np.array([*ahead[:2], low]), yaw, close=close, near_m=0.01, limit=6)
    yield from go(tray, np.array([*ahead[:2], float(rng.uniform(0.10, 0.18))]), yaw, close=close, near_m=0.015)


def _wander(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    while True:
        position, yaw = _draw_pose(rng, low_m=0.04)
        close = bool(rng.random() < 0.5)
        yield from go(tray, position, yaw, close=close, near_m=0.02, limit=int(rng.integers(2, 7)))
        yield from wait(int(rng.integers(1, 3)), close=close)


def _fail(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    angle, distance = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0.03, 0.06))
    miss = distance * np.array([math.cos(angle), math.sin(angle)])
    yield from pick(tray, job.target, job.offset + miss, float(rng.uniform(-0.8, 0.8)))


def _drop(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    yield from _grasp(tray, rng, job)
    yield from wait(int(rng.integers(0, 4)), close=True)
    yield from wait(2, close=False)
    position, yaw = _draw_pose(rng)
    yield from go(tray, position, yaw, close=False, near_m=0.02, limit=4)


def _regrasp(tray: Tray, rng: np.random.Generator, job: Job) -> Iterator[Action]:
    yield from pick(tray, job.target, job.offset, job.yaw_error_rad, lift_to_m=0.09)
    here = tray.robot.pose().position[:2] + rng.uniform(-0.04, 0.04, size=2)
    yield from place(tray, job.target, np.clip(here, -0.11, 0.11), in_container=False, offset=np.zeros(2))
    offset, yaw_error = draw_error(rng, job.target_error_m)
    yield from pick(tray, job.target, offset, yaw_error)


BEHAVIOURS: dict[str, Behaviour] = {
    behaviour.name: behaviour
    for behaviour in (
        Behaviour("grasp", _grasp, _lifted),
        Behaviour("place", _place, _contained, needs_container=True),
        Behaviour("rearrange", _rearrange, was_moved),
        Behaviour("push", _push, was_moved),
        Behaviour("wander", _wander, _never),
        Behaviour("fail", _fail, _lifted),
        Behaviour("drop", _drop, was_moved),
        Behaviour("regrasp", _regrasp, _lifted),
        Behaviour("place_held", _put_in, _contained, starts_held=True, needs_container=True),
        Behaviour("put_down_held", _put_down, was_moved, starts_held=True),
    )
}


def sample_behaviour(rng: np.random.Generator, mixture: Mapping[str, float]) -> Behaviour:
    """Draws a behaviour with probability in proportion to its weight."""
    names = sorted(mixture)
    weights = np.array([mixture[name] for name in names], dtype=np.float64)
    return BEHAVIOURS[names[int(rng.choice(len(names), p=weights / weights.sum()))]]


def as_skill(behaviour: Behaviour, job: Job) -> Skill:
    """A behaviour with its job filled in."""
    return lambda tray, rng: behaviour.play(tray, rng, job)
