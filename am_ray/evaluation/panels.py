"""Pictures of episodes: start, goal and final frame, with Q along the way; animations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from am_ray.evaluation.runner import EpisodeResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOOD, _BAD = "#2a7f3f", "#b03a2e"


def choose_episodes(results: Sequence[EpisodeResult], count: int) -> list[EpisodeResult]:
    """Up to ``count`` episodes of each task, successes and failures by turns, in the order in which they ran."""
    by_task: dict[str, list[EpisodeResult]] = {}
    for result in results:
        if result.error is None:
            by_task.setdefault(result.job.task.name, []).append(result)
    chosen = []
    for episodes in by_task.values():
        good = [episode for episode in episodes if episode.success]
        bad = [episode for episode in episodes if not episode.success]
        shown_bad = min(len(bad), max(count // 2, count - len(good)))
        chosen += good[: count - shown_bad] + bad[:shown_bad]
    return chosen


def choose_animations(episodes: Sequence[EpisodeResult], count: int) -> list[EpisodeResult]:
    """``count`` episodes worth watching: successes first, tasks by turns."""
    turns: dict[str, int] = {}
    ranked = []
    for order, episode in enumerate(sorted(episodes, key=lambda e: not e.success)):
        turn = turns[episode.job.task.name] = turns.get(episode.job.task.name, 0) + 1
        ranked.append((not episode.success, turn, order, episode))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])[:count]]


def write_panels(recordings: Sequence[EpisodeResult], folder: str | Path) -> list[Path]:
    """Writes a PNG for each recorded episode, named by task, episode and outcome, and a GIF where it was filmed whole.

    Returns:
        The PNGs.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    paths = []
    for result in recordings:
        recording = result.recording
        if recording is None:
            continue
        outcome = "success" if result.success else "failure"
        stem = f"{result.job.task.name}_{result.job.index:04d}_{outcome}".replace("/", "_")
        write_figure([result], root / f"{stem}.png")
        if len(recording.frames) > 2:
            write_gif(recording.frames, root / f"{stem}.gif")
        paths.append(root / f"{stem}.png")
    return paths


def write_figure(recordings: Sequence[EpisodeResult], path: str | Path) -> None:
    """One PNG with a row per recorded episode: start, goal, final frame, Q of every action.

    Args:
        recordings: Results with a recording, at least one.
        path: Of the PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 2.6 * len(recordings)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(recordings), 4, squeeze=False, width_ratios=(1, 1, 1, 1.25))
    for row, (axes, result) in enumerate(zip(grid, recordings, strict=True)):
        _draw_row(list(axes), result, with_titles=row == 0)
    figure.savefig(Path(path))


def write_gif(frames: np.ndarray, path: str | Path, *, frames_per_second: float = 8.0, max_size_px: int = 320) -> None:
    """Writes an endless animation.

    Args:
        frames: ``(t, h, w, 3)`` uint8.
        path: Of the GIF.
        frames_per_second: Speed.
        max_size_px: Larger frames are scaled down to this width or height.
    """
    from PIL import Image

    images = []
    for frame in frames:
        image = Image.fromarray(np.ascontiguousarray(frame))
        image.thumbnail((max_size_px, max_size_px))
        images.append(image.quantize(128))
    duration_ms = round(1000 / frames_per_second)
    images[0].save(Path(path), save_all=True, append_images=images[1:], duration=duration_ms, loop=0)


def _draw_row(axes: list[Axes], result: EpisodeResult, *, with_titles: bool) -> None:
    recording = result.recording
    if recording is None:
        raise ValueError(f"episode {result.job.index} of task {result.job.task.name} has no recording")
    pictures = (recording.frames[0], recording.goal_frame, recording.frames[-1])
    for axis, picture, title in zip(axes[:3], pictures, ("start", "goal", "end"), strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        if picture is None:
            axis.set_box_aspect(1)
            axis.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axis.transAxes)
        else:
            axis.imshow(picture)
        if with_titles:
            axis.set_title(title, fontsize=10)
    color = _GOOD if result.success else _BAD
    for spine in axes[2].spines.values():
        spine.set(color=color, linewidth=2.5)
    axes[0].set_ylabel(result.job.task.name.replace("_", " "), fontsize=9)
    _draw_values(axes[3], recording.values, with_title=with_titles)
    axes[2].set_xlabel("reached" if result.success else "not reached", color=color, fontsize=9)


def _draw_values(axis: Axes, values: np.ndarray, *, with_title: bool) -> None:
    axis.plot(np.arange(len(values)), values, color="#1f4e79", linewidth=1.5)
    axis.set_xlim(0, max(len(values) - 1, 1))
    axis.set_ylim(0, 1)
    axis.set_xlabel("action", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.3)
    if with_title:
        axis.set_title("Q(s, a, g)", fontsize=10)
    if np.isnan(values).all():
        axis.text(0.5, 0.5, "this policy has no Q", ha="center", va="center", transform=axis.transAxes, fontsize=8)
