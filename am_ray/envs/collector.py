"""Recording episodes: each follows from (seed, recipe) alone, in any process, in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from am_ray.envs.behaviours import Behaviour, Job, as_skill, sample_behaviour
from am_ray.envs.goals import choose_kinds
from am_ray.envs.layout import sample_layout
from am_ray.envs.recipe import REWARD_TASKS, TrayRecipe
from am_ray.envs.robot import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from am_ray.envs.scripted import ScriptedPolicy, draw_error, go, pick
from am_ray.envs.tasks import TASKS, Assignment, is_contained, is_lifted
from am_ray.envs.tray import Tray, TrayState
from am_ray.types import EnvironmentContractError, Trajectory

DATA_STREAM = 1_000_033  # evaluation uses another one (am_ray.envs.goals): no start is ever in both
MAX_HELD_STARTS = 20
SEVERAL = "play"  # the behaviour of an episode that holds more than one; where the first ended it, it is named by that


class Collector:
    """Records episodes of one recipe with one physics client; build it in the process that uses it.

    Args:
        recipe: What the episodes are made of.
    """

    def __init__(self, recipe: TrayRecipe) -> None:
        self.recipe = recipe
        self.tray = Tray(
            arm=recipe.arm,
            kinds=recipe.kinds,
            container=recipe.container,
            observation=recipe.observation,
            image_size=recipe.image_size,
        )

    def close(self) -> None:
        self.tray.close()

    def collect(self, seed: int) -> Trajectory:
        """The episode of a seed: the same bits in every process and order.

        ``successes`` says at each step whether the recipe's task is fulfilled; without one, whether the aim of the behaviour
        that is under way holds.
        """
        rng = np.random.default_rng([DATA_STREAM, seed])
        recipe = self.recipe
        behaviour = sample_behaviour(rng, recipe.mixture)
        target_error = float(rng.uniform(*recipe.target_error_m))
        action_std = float(rng.uniform(*recipe.action_std))
        target = self._start(seed, rng, behaviour)
        record = _Record(self.tray, self._initial, recipe.task)
        # The truth before a target that the episode begins with was taken.
        self._perform(record, behaviour, target, self._initial, target_error, action_std, rng)
        low, high = recipe.num_behaviours
        for _ in range(int(rng.integers(low, high + 1)) - 1 if high > 1 else 0):
            if record.left_tray:
                break
            behaviour, target = sample_behaviour(rng, recipe.mixture), self._choose_target(rng)
            self._perform(record, behaviour, target, self.tray.truth(), target_error, action_std, rng)
        details = {
            "seed": seed,
            "target_error_m": target_error,
            "action_std": action_std,
            "arm": recipe.arm,
            "container": recipe.container or "none",
            "kinds": ",".join(self._initial.objects),
        }
        return record.trajectory(details)

    def _perform(
        self,
        record: _Record,
        behaviour: Behaviour,
        target: str,
        start: TrayState,
        target_error: float,
        action_std: float,
        rng: np.random.Generator,
    ) -> None:
        recipe = self.recipe
        offset, yaw_error = draw_error(rng, target_error)
        job = Job(target, offset, yaw_error, target_error, start)
        count = int(rng.integers(recipe.num_actions[0], recipe.num_actions[1] + 1))
        policy = ScriptedPolicy(as_skill(behaviour, job), action_std=action_std)
        prelude = 0 if behaviour.starts_held else int(rng.integers(recipe.prelude[0], recipe.prelude[1] + 1))
        aimless = ScriptedPolicy(_drift, action_std=action_std)
        record.begin(behaviour, job)
        for step in range(count):
            record.step(aimless.act(self.tray, rng) if step < prelude else policy.act(self.tray, rng))

    def _choose_target(self, rng: np.random.Generator) -> str:
        """Of a later behaviour; `_start` draws in another order, which the digests of data depend on."""
        if self.recipe.task is not None and rng.random() < self.recipe.task_share:
            return REWARD_TASKS[self.recipe.task]
        return str(rng.choice(list(self._initial.objects)))

    def _start(self, seed: int, rng: np.random.Generator, behaviour: Behaviour) -> str:
        """Sets the tray up, with the target in the hand where the behaviour wants that; returns the target."""
        recipe = self.recipe
        wanted = None if recipe.task is None else REWARD_TASKS[recipe.task]
        for _ in range(MAX_HELD_STARTS):
            kinds = self._reset(rng if recipe.episodes_per_scene == 1 else _scene_rng(seed, recipe), wanted)
            target = str(rng.choice(kinds))
            if wanted is not None and rng.random() < recipe.task_share:
                target = wanted
            if not behaviour.starts_held or self._take(target, rng):
                return target
        raise EnvironmentContractError(
            f"behaviour {behaviour.name}: no grasp succeeded in {MAX_HELD_STARTS} starts; expected one object in the hand. "
            "Give fewer objects per episode, or leave this behaviour out of the mixture."
        )

    def _reset(self, rng: np.random.Generator, wanted: str | None) -> tuple[str, ...]:
        """Draws objects and places; returns the objects' kinds."""
        recipe = self.recipe
        number = int(rng.integers(recipe.num_objects[0], recipe.num_objects[1] + 1))
        kinds = choose_kinds(rng, recipe.kinds, number, wanted)
        colors = {kind: many[int(rng.integers(len(many)))] for kind, many in recipe.colors.items() if many}
        self.tray.reset(sample_layout(rng, kinds, container=recipe.container, colors=colors))
        self._initial = self.tray.truth()
        return kinds

    def _take(self, target: str, rng: np.random.Generator) -> bool:
        """Grasps before the recording begins, to a height and place like those at which grasp episodes end."""
        height, aim = float(rng.uniform(0.14, 0.19)), rng.uniform(-0.11, 0.11, size=2)
        carry, yaw = bool(rng.random() < 0.4), float(rng.uniform(-1.5, 1.5))
        tray = self.tray
        for action in pick(tray, target, np.zeros(2), 0.0, lift_to_m=height):
            tray.step(action)
        if carry:
            for action in go(tray, np.array([*aim, height]), yaw, close=True, near_m=0.02, limit=5):
                tray.step(action)
        return is_lifted(tray.truth().objects[target])


class _Record:
    """The rows of an episode in the making."""

    def __init__(self, tray: Tray, start: TrayState, task: str | None) -> None:
        self._tray, self._start, self._task = tray, start, task
        self._observations = [tray.observe()]
        self._actions: list[np.ndarray[Any, Any]] = []
        self._successes: list[bool] = []
        self._played: list[tuple[Behaviour, Job]] = []
        self._grasped = False
        self.left_tray = False
        self._truth: TrayState = tray.truth()

    def begin(self, behaviour: Behaviour, job: Job) -> None:
        """What is recorded from now on is this behaviour's."""
        self._played.append((behaviour, job))

    def step(self, action: np.ndarray[Any, Any]) -> None:
        self._tray.step(action)
        self._truth = truth = self._tray.truth()
        self._actions.append(action)
        self._observations.append(self._tray.observe())
        self._successes.append(self._label(truth))
        self._grasped |= any(is_lifted(obj) for obj in truth.objects.values())
        self.left_tray |= self._tray.left_tray()

    def _label(self, truth: TrayState) -> bool:
        if self._task is None:
            behaviour, job = self._played[-1]
            return behaviour.outcome(truth, job.start, job.target)
        return TASKS[self._task].rule(truth, Assignment(REWARD_TASKS[self._task], self._start))

    def trajectory(self, details: dict[str, Any]) -> Trajectory:
        truth, start = self._truth, self._start
        names = [behaviour.name for behaviour, _ in self._played]
        behaviour = names[0] if len(names) == 1 else SEVERAL
        played = {"behaviour": behaviour, "target": ",".join(job.target for _, job in self._played)}
        if len(names) > 1:
            played["behaviours"] = ",".join(names)
        moved = (
            float(np.linalg.norm(truth.objects[kind].position[:2] - start.objects[kind].position[:2])) >= 0.06
            and not truth.objects[kind].held
            for kind in truth.objects
        )
        skills = {
            "grasped": self._grasped,
            "held_at_end": any(is_lifted(obj) for obj in truth.objects.values()),
            "placed": any(is_contained(truth, kind) for kind in truth.objects),
            "moved": any(moved),
            "left_tray": self.left_tray,
        }
        features = self._observations[0]
        return Trajectory(
            observations={name: np.stack([o[name] for o in self._observations]) for name in features},
            actions=np.stack(self._actions).astype(np.float32),
            rewards=None if self._task is None else np.array(self._successes, dtype=np.float32),
            successes=np.array(self._successes, dtype=np.bool_),
            task=self._task or behaviour,
            metadata={**details, **played, **skills},
        )


def _scene_rng(seed: int, recipe: TrayRecipe) -> np.random.Generator:
    """The same for all episodes of a scene."""
    return np.random.default_rng([DATA_STREAM, seed // recipe.episodes_per_scene, 1])


def _drift(tray: Tray, rng: np.random.Generator) -> Any:
    """Aimless moves above the objects, so that behaviours begin from many places."""
    while True:
        position = rng.uniform(WORKSPACE_LOW_M + 0.02, WORKSPACE_HIGH_M - 0.02)
        position[2] = rng.uniform(0.11, 0.2)
        close = bool(rng.random() < 0.25)
        yield from go(tray, position, float(rng.uniform(-1.2, 1.2)), close=close, near_m=0.02, limit=4)


def make_collector(recipe: TrayRecipe) -> Collector:
    """A collector that keeps its physics client between episodes."""
    return Collector(recipe)


def collect_episode(seed: int, recipe: TrayRecipe) -> Trajectory:
    """One episode with a physics client of its own; equal to `Collector.collect` bit for bit."""
    collector = Collector(recipe)
    try:
        return collector.collect(seed)
    finally:
        collector.close()
