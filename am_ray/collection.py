"""Collecting a dataset: Ray actors play episodes, one process writes them, in order.

Episode ``i`` follows from (recipe, seed, i) alone and episodes are written by number, so the data are the same for
any number of workers; a killed collection goes on where it was when the same command is given again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from am_ray import __version__
from am_ray.data.manifest import MANIFEST_PATH
from am_ray.data.reader import read_dataset
from am_ray.data.storage import open_storage
from am_ray.data.writer import DatasetWriter
from am_ray.progress import progress_bar
from am_ray.ray_session import ray_session
from am_ray.types import AmRayError, DatasetError, SettingsError, Trajectory

if TYPE_CHECKING:
    from am_ray.envs.recipe import TrayRecipe

logger = logging.getLogger(__name__)

# Episodes of one call to a worker: about a second of work, against milliseconds for the call.
EPISODES_PER_CALL = 8
# Calls begun but not yet written, per worker: bounds memory when one worker is slow.
CALLS_PER_WORKER = 3
# A worker whose process dies (out of memory, say) is started again this often; its episodes come out the same.
WORKER_RESTARTS = 3
# One action is 20 physics steps of 1/240 s.
FRAMES_PER_S = 12.0
# Evaluation draws its seeds from 2**31 upwards.
NUM_DATA_SEEDS = 2**31


@dataclasses.dataclass(frozen=True)
class Collected:
    """What `collect` left behind.

    Attributes:
        path: The dataset.
        digest: Of its data.
        episodes: All of them.
        transitions: In these episodes.
        resumed_from: Episodes that an earlier, interrupted call had written.
    """

    path: str
    digest: str
    episodes: int
    transitions: int
    resumed_from: int


def collect(
    recipe_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    episodes: int | None = None,
    workers: int | None = None,
    seed: int | None = None,
) -> Collected:
    """Play a recipe's episodes and write them as a dataset.

    A folder with the same collection, interrupted, is continued; one with another collection is refused.

    Args:
        recipe_path: A YAML file, see ``datasets/README.md``.
        out: Where the dataset goes: a folder, or a ``pyarrow.fs`` URI.
        episodes: How many, at least 1; by default as many as the recipe says.
        workers: Processes that play, at least 1; by default one per usable CPU.
        seed: Of the whole dataset, 0 or more; by default the recipe's.

    Raises:
        SettingsError: The recipe is wrong, or a number is out of range.
        DatasetError: The folder holds something else, or an episode cannot be stored.
    """
    from am_ray.envs.recipe import load_recipe

    asked = load_recipe(Path(recipe_path))
    count = asked.episodes if episodes is None else episodes
    num_workers = len(os.sched_getaffinity(0)) if workers is None else workers
    base_seed = asked.seed if seed is None else seed
    _check_at_least("episodes", count, 1)
    _check_at_least("workers", num_workers, 1)
    _check_at_least("seed", base_seed, 0)
    generator = describe_generator(asked.recipe, base_seed)
    if open_storage(out).exists(MANIFEST_PATH):
        return _already_complete(out, generator, count)
    with DatasetWriter.resume(out, **writer_settings(asked.recipe), generator=generator) as writer:
        start = writer.next_episode
        if start > count:
            raise DatasetError(f"{out}: holds {start} episodes; expected at most {count}. Ask for {start} or more.")
        if start:
            logger.info("%s: going on after %d of %d episodes", out, start, count)
        _write(writer, asked.recipe, [episode_seed(base_seed, i) for i in range(start, count)], num_workers)
    return _result(out, start)


def episode_seed(seed: int, index: int) -> int:
    """The seed of an episode, in [0, 2**31): a dataset's seeds differ from one another and from evaluation's."""
    first = int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0])
    return (first + index) % NUM_DATA_SEEDS


class Player(Protocol):
    """What plays an episode: the same one for the same seed, in any process."""

    def collect(self, seed: int) -> Trajectory: ...


def play_in_order(
    make_player: Callable[[], Player], seeds: list[int], workers: int
) -> Generator[Trajectory, None, None]:
    """Trajectories of ``seeds``, in their order, played by Ray actors in whatever order they get done.

    Needs Ray to be running. At most ``CALLS_PER_WORKER`` calls per worker are begun and not yet consumed.

    Args:
        make_player: Called once in each worker; pickled.
        seeds: One per episode.
        workers: Processes; no more than there are calls to make.

    Raises:
        AmRayError: As the worker raised it.
    """
    import ray

    calls = deque(seeds[i : i + EPISODES_PER_CALL] for i in range(0, len(seeds), EPISODES_PER_CALL))
    worker_class = ray.remote(num_cpus=1, max_restarts=WORKER_RESTARTS, max_task_retries=WORKER_RESTARTS)(_Worker)
    actors: list[Any] = [worker_class.remote(make_player) for _ in range(min(workers, len(calls)))]
    try:
        yield from _played_in_order(actors, calls, most=CALLS_PER_WORKER * workers)
    finally:  # An error's traceback would keep them, and their CPUs, until the garbage collector comes by.
        for actor in actors if ray.is_initialized() else []:
            ray.kill(actor)


def _played_in_order(actors: list[Any], calls: deque[list[int]], *, most: int) -> Iterator[Trajectory]:
    import ray

    idle, busy = list(actors), dict[Any, Any]()
    order: deque[Any] = deque()
    while calls or order:
        while idle and calls and len(order) < most:
            worker = idle.pop()
            reference = worker.play.remote(calls.popleft())
            busy[reference] = worker
            order.append(reference)
        ready, _ = ray.wait([order[0], *(other for other in busy if other != order[0])], num_returns=1)
        idle += [busy.pop(reference) for reference in ready if reference in busy]
        if order[0] not in busy:
            yield from _trajectories(order.popleft())


class _Worker:
    """One process with one player."""

    def __init__(self, make_player: Callable[[], Player]) -> None:
        self._player = make_player()

    def play(self, seeds: list[int]) -> list[Trajectory]:
        return [self._player.collect(seed) for seed in seeds]


def _trajectories(reference: Any) -> list[Trajectory]:
    import ray

    try:
        result: list[Trajectory] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, AmRayError):
            raise error.cause from None
        raise
    return result


def _write(writer: DatasetWriter, recipe: TrayRecipe, seeds: list[int], workers: int) -> None:
    from am_ray.envs.collector import make_collector

    if not seeds:
        return
    with (
        ray_session(num_cpus=workers),
        progress_bar("collecting", len(seeds)) as advance,
        closing(play_in_order(partial(make_collector, recipe), seeds, workers)) as trajectories,
    ):
        for trajectory in trajectories:
            writer.append(trajectory)
            advance(1)


def writer_settings(recipe: TrayRecipe) -> dict[str, Any]:
    """What the dataset says of its world, so that ``am-ray evaluate`` can build it again."""
    from am_ray.envs import ENV_ID
    from am_ray.envs.tray import FRONT

    kwargs = {
        "arm": recipe.arm,
        "kinds": list(recipe.kinds),
        "container": recipe.container,
        "observation": recipe.observation,
        "image_size": recipe.image_size,
        "num_objects": recipe.num_objects[1],
    }
    return {
        "fps": FRAMES_PER_S,
        "action_low": -1.0,
        "action_high": 1.0,
        "env": {"id": ENV_ID, "kwargs": kwargs},
        "goal_features": [FRONT] if recipe.observation == "image_gripper" else None,
        "license": "Apache-2.0",
        "robot_type": recipe.arm,
    }


def describe_generator(recipe: TrayRecipe, seed: int) -> dict[str, Any]:
    """What determines the data: stored with them, and compared before an interrupted collection is continued."""
    text = json.dumps(recipe.to_mapping(), sort_keys=True)
    return {
        "command": "am-ray collect",
        "recipe_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": seed,
        "version": __version__,
    }


def _already_complete(out: str | os.PathLike[str], generator: dict[str, Any], count: int) -> Collected:
    dataset = read_dataset(out)
    if (dataset.info.generator, dataset.num_episodes) != (generator, count):
        raise DatasetError(
            f"{out}: holds another complete dataset ({dataset.num_episodes} episodes, {dataset.info.generator}); "
            f"expected none, or {count} episodes of {generator}. Give another folder, or delete this one."
        )
    logger.info("%s: already complete", out)
    return _result(out, count)


def _result(out: str | os.PathLike[str], resumed_from: int) -> Collected:
    dataset = read_dataset(out)
    return Collected(os.fspath(out), dataset.digest, dataset.num_episodes, dataset.num_transitions, resumed_from)


def _check_at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise SettingsError(f"{name}: got {value}; expected at least {low}. Change --{name}.")
