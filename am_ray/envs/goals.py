"""Goals: the last frame of a noise-free scripted episode from the SAME start, kept only if the task's rule holds on it.

Evaluation starts come from their own random stream, so no evaluation start is ever in the data, whatever the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from am_ray.envs.assets import Color
from am_ray.envs.layout import Layout, footprint, is_free, keep_out_of, sample_layout
from am_ray.envs.objects import TRAY_HALF_M, find_kind
from am_ray.envs.scripted import Action, ScriptedPolicy, Skill, pick, place
from am_ray.envs.sim import FloatArray, Light
from am_ray.envs.tasks import Assignment, Task, is_fair_goal
from am_ray.envs.tray import DAYLIGHT, Observation, Tray, TrayState
from am_ray.types import EnvironmentContractError

EVALUATION_STREAM = 1_000_003  # data use stream 1_000_033 (am_ray.envs.collector): the two never meet
MAX_STARTS = 20
TARGETS_PER_START = 3
MAX_SCRIPT_ACTIONS = 34
HOLD_ACTIONS = 3  # the goal shows a robot at rest
PUT_DOWN_MARGIN_M = 0.025  # to the container; a start needs more, since an object there is to be grasped
FREE_GAPS_M = (0.025, 0.015, 0.005)  # to other objects, tried in this order
GOAL_MOVE_M = 0.10  # 6 cm beyond the rule's tolerance: a chance push does not pass


@dataclass(frozen=True)
class Episode:
    """A start, what is asked, the goal's observation (``None`` in reward tasks) and the script that reaches it."""

    layout: Layout
    assignment: Assignment
    goal: Observation | None
    skill: Skill


def make_episode(
    tray: Tray,
    task: Task,
    seed: int,
    *,
    num_objects: int | None = None,
    colors: Mapping[str, Color] | None = None,
    target: str | None = None,
    light: Light = DAYLIGHT,
) -> Episode:
    """Draws an episode; afterwards the tray stands at its start.

    Candidates follow from the seed alone: another target first, then another start. The goal's image is taken in ``light``.

    Raises:
        EnvironmentContractError: No candidate gave a fair goal.
    """
    for attempt in range(MAX_STARTS):
        rng = np.random.default_rng([EVALUATION_STREAM, seed, attempt])
        wanted = target or task.target
        kinds = choose_kinds(rng, tray.kinds, num_objects or len(tray.kinds), wanted)
        layout = sample_layout(rng, kinds, container=tray.container, colors=colors)
        candidates = [wanted] if wanted else [str(k) for k in rng.permutation(kinds)[:TARGETS_PER_START]]
        for candidate in candidates:
            episode = _try_candidate(tray, task, layout, candidate, light, rng)
            if episode is not None:
                return episode
    raise EnvironmentContractError(
        f"{task.name}: no fair goal in {MAX_STARTS} starts of seed {seed}; expected the script to reach one. "
        "Give fewer kinds or another target."
    )


def choose_kinds(rng: np.random.Generator, kinds: Sequence[str], count: int, wanted: str | None) -> tuple[str, ...]:
    """Draws the kinds of an episode, the wanted one among them, in the order of ``kinds``."""
    drawn = [str(k) for k in rng.permutation([k for k in kinds if k != wanted])]
    chosen = {wanted, *drawn[: count - 1]} if wanted else set(drawn[:count])
    return tuple(k for k in kinds if k in chosen)


def task_skill(task: Task, target: str, start: TrayState, rng: np.random.Generator) -> Skill | None:
    """The noise-free script of a task; ``None`` if there is no room to move the target to."""
    if task.needs_container:
        return _place_skill(target, np.asarray(start.container_xy), in_container=True)
    if task.target_moves:
        xy = draw_free_place(start, target, rng)
        return None if xy is None else _place_skill(target, xy, in_container=False)
    height = float(rng.uniform(0.14, 0.18))

    def skill(tray: Tray, _: np.random.Generator) -> Iterator[Action]:
        yield from pick(tray, target, np.zeros(2), 0.0, lift_to_m=height)

    return skill


def draw_free_place(
    start: TrayState, target: str, rng: np.random.Generator, min_move_m: float = GOAL_MOVE_M
) -> FloatArray | None:
    """A free place ``(2,)`` in the tray at least ``min_move_m`` from the target's own; ``None`` if no draw found one."""
    others = [
        footprint(find_kind(name), (float(obj.position[0]), float(obj.position[1])), _long_axis_yaw(obj.rotation))
        for name, obj in start.objects.items()
        if name != target
    ]
    keep_out = keep_out_of(start.container, start.container_xy, PUT_DOWN_MARGIN_M)
    obj = start.objects[target]
    yaw = _long_axis_yaw(obj.rotation)
    for gap in np.repeat(FREE_GAPS_M, 120):
        xy = rng.uniform(-TRAY_HALF_M, TRAY_HALF_M, size=2)
        if float(np.linalg.norm(xy - obj.position[:2])) < min_move_m:
            continue
        if is_free(find_kind(target), (float(xy[0]), float(xy[1])), yaw, others, keep_out, float(gap)):
            return xy
    return None


def _long_axis_yaw(rotation: FloatArray) -> float:
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def _place_skill(target: str, xy: FloatArray, *, in_container: bool) -> Skill:
    def skill(tray: Tray, _: np.random.Generator) -> Iterator[Action]:
        yield from pick(tray, target, np.zeros(2), 0.0)
        yield from place(tray, target, xy, in_container=in_container, offset=np.zeros(2))

    return skill


def _try_candidate(
    tray: Tray, task: Task, layout: Layout, target: str, light: Light, rng: np.random.Generator
) -> Episode | None:
    tray.reset(layout)
    start = tray.truth()
    skill = task_skill(task, target, start, rng)
    if skill is None:
        return None
    if not task.has_goal:
        return Episode(layout, Assignment(target, start), None, skill)
    policy = ScriptedPolicy(skill)
    for _ in range(MAX_SCRIPT_ACTIONS):
        tray.step(policy.act(tray, rng))
        if policy.finished:
            break
    for _ in range(HOLD_ACTIONS):
        tray.step(policy.act(tray, rng))
    goal = tray.observe(light)
    assignment = Assignment(target, start, tray.truth())
    fair = policy.finished and not tray.left_tray() and is_fair_goal(task, assignment)
    tray.reset(layout)
    return Episode(layout, assignment, goal, skill) if fair else None
