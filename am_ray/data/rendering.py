"""Episodes as pictures: a contact sheet (PNG) and an animation (GIF) of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from am_ray.data.reader import read_dataset
from am_ray.types import DatasetError, Trajectory

MIN_HEIGHT = 128  # pixels; smaller frames are enlarged by a whole factor
SHEET_FRAMES = 8
BORDER = 2


def render_dataset(
    path: str | os.PathLike[str], out: str | os.PathLike[str], episodes: Sequence[int] = (0,)
) -> list[Path]:
    """Write ``episode-<i>.png`` (frames from start to end, one row per camera) and ``episode-<i>.gif`` for each episode.

    Args:
        path: A dataset with camera images.
        out: Local folder for the pictures; made if missing.
        episodes: Which trajectories.

    Returns:
        The files written.

    Raises:
        DatasetError: If the dataset has no images, is damaged, or has no such episode.
    """
    dataset = read_dataset(path)
    cameras = [name for name, shape in dataset.spec.observation_shapes.items() if len(shape) > 1]
    if not cameras:
        raise DatasetError(
            f"{dataset.storage.name}: got observations {dataset.spec.observation_shapes}, none of them images; expected a "
            "camera. Collect with image observations to render."
        )
    folder, written = Path(out), []
    folder.mkdir(parents=True, exist_ok=True)
    for episode in episodes:
        if not 0 <= episode < len(dataset):
            raise DatasetError(
                f"{dataset.storage.name}: no episode {episode}; expected 0 to {len(dataset) - 1}. Choose another."
            )
        trajectory = dataset[episode]
        sheet, animation = folder / f"episode-{episode}.png", folder / f"episode-{episode}.gif"
        Image.fromarray(contact_sheet(trajectory, cameras)).save(sheet)
        frames = [Image.fromarray(frame) for frame in animation_frames(trajectory, cameras)]
        duration_ms = round(1000 / dataset.info.fps)
        frames[0].save(animation, save_all=True, append_images=frames[1:], duration=duration_ms, loop=0)
        written += [sheet, animation]
    return written


def contact_sheet(trajectory: Trajectory, cameras: Sequence[str]) -> np.ndarray:
    """Up to eight frames, first and last included, side by side; one row per camera. ``(h, w, 3)`` uint8."""
    rows = []
    for camera in cameras:
        frames = _enlarged(trajectory.observations[camera])
        chosen = np.unique(np.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int))
        rows.append(_beside([frames[i] for i in chosen]))
    return _below(rows)


def animation_frames(trajectory: Trajectory, cameras: Sequence[str]) -> list[np.ndarray]:
    """Every frame, the cameras side by side; each ``(h, w, 3)`` uint8."""
    views = [_enlarged(trajectory.observations[camera]) for camera in cameras]
    return [_beside(list(frames)) for frames in zip(*views, strict=True)]


def _enlarged(frames: np.ndarray) -> np.ndarray:
    colour = np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]
    factor = max(1, -(-MIN_HEIGHT // frames.shape[1]))
    return colour.repeat(factor, axis=1).repeat(factor, axis=2)


def _beside(images: Sequence[np.ndarray]) -> np.ndarray:
    height = max(image.shape[0] for image in images)
    padded = [np.pad(i, ((0, height - i.shape[0]), (0, BORDER), (0, 0)), constant_values=255) for i in images]
    return np.concatenate(padded, axis=1)[:, :-BORDER]


def _below(images: Sequence[np.ndarray]) -> np.ndarray:
    width = max(image.shape[1] for image in images)
    padded = [np.pad(i, ((0, BORDER), (0, width - i.shape[1]), (0, 0)), constant_values=255) for i in images]
    return np.concatenate(padded, axis=0)[:-BORDER]
