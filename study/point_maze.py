"""Play without rewards in a world that we did not write: PointMaze of Gymnasium-Robotics.

    pip install -e '.[study]'
    python -m study.point_maze --out data/point_maze --episodes 5000 --seed 0

A ball is pushed by forces through a maze; the goal is a position, and success is to be within 0.45 m of it (a cell is
1 m). Maze, starts, goals and success rule are the package's. Only the clock is ours: one action is held for `REPEAT` of the
package's steps of 10 ms, since at 10 ms a cell takes 40 decisions and a way through the maze several hundred.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium_robotics.envs.maze.maps import LARGE_MAZE, MEDIUM_MAZE, U_MAZE
from gymnasium_robotics.envs.maze.maze_v4 import Maze
from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

from am_ray import Trajectory, write_dataset

REPEAT = 10
ACTION_S = 0.01 * REPEAT
ENV_ID = "study.point_maze:PointMazeRepeat_Medium-v0"
# Map and number of 10 ms steps of an episode, both as the package registers them.
MAZES = {"UMaze": (U_MAZE, 300), "Medium": (MEDIUM_MAZE, 600), "Large": (LARGE_MAZE, 800)}
# What a full push adds to the speed in a second, in m/s (measured).
ACCELERATION = 24.0

Cell = tuple[int, int]


class RepeatedPointMaze(PointMazeEnv):  # type: ignore[misc]
    """PointMaze whose actions are held for `REPEAT` steps of 10 ms; with an oracle for `am-ray evaluate`."""

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """The result of the last of the steps; goals of play and evaluation alike are about the state after an action."""
        for _ in range(REPEAT):
            result: tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]] = super().step(action)
        return result

    def oracle(self) -> Oracle:
        return Oracle(self)


class Navigator:
    """Walks to a position: breadth-first search over the cells, then a controller from cell to cell."""

    def __init__(self, maze: Maze, *, speed_m_s: float = 2.0) -> None:
        self.maze = maze
        self.speed_m_s = speed_m_s
        self._steps_to: dict[Cell, dict[Cell, int]] = {}

    def action(self, position: np.ndarray, velocity: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The force, in [-1, 1]^2: a wanted velocity in proportion to the way, and what is missing of it now."""
        cell, goal_cell = self.cell_of(position), self.cell_of(goal)
        steps_to = self.steps_to(goal_cell)
        following = min(_neighbours(cell), key=lambda other: steps_to.get(other, len(steps_to)))
        is_near = steps_to[cell] <= 1
        way = (goal if is_near else self.maze.cell_rowcol_to_xy(np.array(following))) - position
        wanted = 5.0 * way
        wanted *= min(1.0, self.speed_m_s / max(float(np.linalg.norm(wanted)), 1e-9))
        force: np.ndarray = np.clip((wanted - velocity) / (ACCELERATION * ACTION_S), -1.0, 1.0).astype(np.float32)
        return force

    def cell_of(self, position: np.ndarray) -> Cell:
        row, column = self.maze.cell_xy_to_rowcol(position)
        return int(row), int(column)

    def steps_to(self, goal: Cell) -> dict[Cell, int]:
        """Cells between each free cell and the goal's."""
        if goal not in self._steps_to:
            found, queue = {goal: 0}, deque([goal])
            while queue:
                cell = queue.popleft()
                for row, column in _neighbours(cell):
                    if self.maze.maze_map[row][column] != 1 and (row, column) not in found:
                        found[row, column] = found[cell] + 1
                        queue.append((row, column))
            self._steps_to[goal] = found
        return self._steps_to[goal]


class Oracle:
    """The navigator on the way to the running episode's goal."""

    def __init__(self, env: RepeatedPointMaze) -> None:
        self._env = env
        self._navigator = Navigator(env.maze)

    def act(self) -> np.ndarray:
        data = self._env.data
        return self._navigator.action(data.qpos[:2].copy(), data.qvel[:2].copy(), self._env.goal)


def collect_point_maze(
    out: str | Path,
    *,
    episodes: int,
    steps: int = 12,
    seed: int = 0,
    env_id: str = ENV_ID,
    action_noise: float = 0.3,
    aimless_share: float = 0.2,
    overwrite: bool = False,
) -> str:
    """Plays in the maze and writes a dataset that `am-ray pretrain` reads and `am-ray evaluate` knows the world of.

    An episode begins at rest in any free cell. It walks to places drawn from the whole maze and stays there for a while,
    or (``aimless_share``) is pushed about at random. It is short: with 12 actions of 0.1 s it covers three cells, and an
    evaluation asks for ways of five on average, eleven at most: 24 % of 200 of its starts and goals lie within the reach
    of one episode (`reach`).

    Args:
        out: Folder of the dataset.
        episodes: How many.
        steps: Actions of each.
        seed: Of all of it; episode e depends on (seed, e) alone.
        env_id: One of this module's environments.
        action_noise: Standard deviation of the noise on each action of the navigator, whose range is [-1, 1].
        aimless_share: Share of episodes without a destination.
        overwrite: Replace a dataset that is already there.

    Returns:
        The digest of the data.
    """
    settings = {"steps": steps, "seed": seed, "action_noise": action_noise, "aimless_share": aimless_share}
    env: Any = gymnasium.make(env_id, disable_env_checker=True)

    def play() -> Iterator[Trajectory]:
        for episode in range(episodes):
            words = np.random.SeedSequence(seed, spawn_key=(episode,)).generate_state(2)
            # Evaluation draws its seeds from the upper half of the 32-bit numbers.
            reset_seed, rng = int(words[0]) % 2**31, np.random.default_rng(words)
            is_aimless = bool(rng.random() < aimless_share)
            yield play_episode(env, rng, steps=steps, seed=reset_seed, noise=None if is_aimless else action_noise)

    try:
        return write_dataset(
            out,
            play(),
            fps=1.0 / ACTION_S,
            action_low=-1.0,
            action_high=1.0,
            env={"id": env_id, "kwargs": {}},
            goal_features={"state": [0, 1]},
            generator={"name": "study.point_maze", **settings},
            license="CC0-1.0",
            overwrite=overwrite,
        )
    finally:
        env.close()


def play_episode(
    env: gymnasium.Env[Any, Any], rng: np.random.Generator, *, steps: int, seed: int, noise: float | None
) -> Trajectory:
    """One episode from ``env.reset(seed=seed)``; without ``noise`` an aimless one."""
    maze_env: Any = env.unwrapped
    navigator = Navigator(maze_env.maze, speed_m_s=float(rng.uniform(1.0, 3.0)))
    observation, _ = env.reset(seed=seed)
    states, actions = [observation["observation"]], []
    goal, push = _free_place(maze_env.maze, rng), np.zeros(2)
    for _ in range(steps):
        position, velocity = states[-1][:2], states[-1][2:]
        if noise is None:
            push = 0.7 * push + 0.6 * rng.standard_normal(2)
            action = push
        else:
            if np.linalg.norm(position - goal) < 0.3 and rng.random() < 0.2:
                goal = _free_place(maze_env.maze, rng)
            action = navigator.action(position, velocity, goal) + noise * rng.standard_normal(2)
        actions.append(np.clip(action, -1.0, 1.0).astype(np.float32))
        states.append(env.step(actions[-1])[0]["observation"])
    return Trajectory(
        {"state": np.stack(states).astype(np.float32)},
        np.stack(actions),
        metadata={"seed": seed, "behaviour": "aimless" if noise is None else "navigate", "action_std": noise or 0.0},
    )


def reach(env_id: str = ENV_ID, *, steps: int, episodes: int = 200) -> float:
    """Share of the environment's own start-goal pairs that the oracle joins within so many actions."""
    env: Any = gymnasium.make(env_id, disable_env_checker=True)
    joined = 0
    for seed in range(episodes):
        env.reset(seed=seed)
        oracle = env.unwrapped.oracle()
        joined += any(env.step(oracle.act())[4]["success"] for _ in range(steps))
    env.close()
    return joined / episodes


def _free_place(maze: Maze, rng: np.random.Generator) -> np.ndarray:
    """A position in a free cell, as far from its middle as the package's own goals are."""
    cells = [(row, column) for row, line in enumerate(maze.maze_map) for column, value in enumerate(line) if value != 1]
    middle: np.ndarray = maze.cell_rowcol_to_xy(np.array(cells[rng.integers(len(cells))]))
    return middle + rng.uniform(-0.25, 0.25, 2)


def _neighbours(cell: Cell) -> list[Cell]:
    row, column = cell
    return [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m study.point_maze", description="Play in PointMaze.")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--episodes", type=int, default=5000, metavar="N", help="default: 5000")
    parser.add_argument("--steps", type=int, default=12, metavar="N", help="actions of an episode; default: 12")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--env", default=ENV_ID, metavar="ID", help=f"default: {ENV_ID}")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset that is already there")
    return parser


def main() -> None:
    args = argument_parser().parse_args()
    digest = collect_point_maze(
        args.out,
        episodes=args.episodes,
        steps=args.steps,
        seed=args.seed,
        env_id=args.env,
        overwrite=args.overwrite,
    )
    print(f"{args.out}: {args.episodes} episodes, digest {digest}")


for _name, (_map, _steps) in MAZES.items():
    _id = f"PointMazeRepeat_{_name}-v0"
    if _id not in gymnasium.registry:  # `python -m` runs this module, and gymnasium.make imports it once more
        gymnasium.register(
            _id,
            entry_point="study.point_maze:RepeatedPointMaze",
            kwargs={"maze_map": _map},
            max_episode_steps=_steps // REPEAT,
        )

if __name__ == "__main__":
    main()
