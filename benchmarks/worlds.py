"""The data that benchmarks run on: synthetic, of the shapes of the reference data, written once below ``benchmarks/data/``.

What the numbers are does not matter for speed; that they are read, checked, decoded and gathered like real ones does.
Images are smooth, so that PNG and lz4 compress them about as well as rendered ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory

DATA = Path(__file__).parent / "data"
STATE_DIM, ACTION_DIM, STEPS, PIXELS = 21, 4, 30, 64


def state_data(episodes: int = 20_000) -> Path:
    """21-d states, 30 transitions an episode (50 MB decoded at 20,000 episodes)."""
    return _written(DATA / f"state_{episodes}", episodes, _state_episode)


def image_data(episodes: int = 400) -> Path:
    """64 px images, 30 transitions an episode (150 MB decoded at 400 episodes)."""
    return _written(DATA / f"image_{episodes}", episodes, _image_episode)


def small_group_image_data(episodes: int) -> Path:
    """The same images in row groups of 1,000 rows, so that windows are small beside little memory."""
    return _written(DATA / f"image_groups_{episodes}", episodes, _image_episode, row_group_rows=1000)


def _written(folder: Path, episodes: int, make: object, **settings: int) -> Path:
    if not (folder / "meta" / "manifest.json").is_file():
        rng = np.random.default_rng(0)
        trajectories: Iterator[Trajectory] = (make(rng) for _ in range(episodes))  # type: ignore[operator]
        write_dataset(folder, trajectories, action_low=-1.0, action_high=1.0, **settings)
    return folder


def _state_episode(rng: np.random.Generator) -> Trajectory:
    states = rng.standard_normal((STEPS + 1, STATE_DIM), np.float32).cumsum(axis=0, dtype=np.float32)
    return Trajectory({"state": states}, _actions(rng))


def _image_episode(rng: np.random.Generator) -> Trajectory:
    coarse = rng.integers(0, 256, (STEPS + 1, PIXELS // 4, PIXELS // 4, 3), np.uint8)
    images = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return Trajectory({"front": images}, _actions(rng))


def _actions(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1.0, 1.0, (STEPS, ACTION_DIM)).astype(np.float32)
