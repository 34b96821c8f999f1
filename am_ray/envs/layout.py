"""Random starts: where the objects, the container and the gripper are before the first action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from am_ray.envs.assets import Color
from am_ray.envs.objects import BIN_HALF_M, BIN_THICKNESS_M, PLATE_RADIUS_M, TRAY_HALF_M, ObjectKind, find_kind
from am_ray.envs.sim import FloatArray

WALL_MARGIN_M = 0.02  # a finger must fit between an object and the tray's wall
CENTRE_MARGIN_M = 0.055  # and so must the open hand
CONTAINER_MARGIN_M = 0.042  # 3 cm and a finger's width
OBJECT_GAPS_M = (0.035, 0.025, 0.015, 0.008)  # tried in this order: wide gaps let the open fingers in
TRIES_PER_GAP = 60


@dataclass(frozen=True)
class Placement:
    """An object at rest: centre in the plane, yaw, and the colour that replaces its first one."""

    kind: str
    xy: tuple[float, float]
    yaw_rad: float
    color: Color | None = None


@dataclass(frozen=True)
class Layout:
    """A start. ``container_xy`` is ``None`` without a container."""

    objects: tuple[Placement, ...]
    container_xy: tuple[float, float] | None
    gripper_m: tuple[float, float, float]
    gripper_yaw_rad: float


def container_half_m(container: str) -> float:
    """Half of a container's outer width."""
    return BIN_HALF_M + BIN_THICKNESS_M if container == "bin" else PLATE_RADIUS_M


def footprint(kind: ObjectKind, xy: tuple[float, float], yaw_rad: float) -> tuple[FloatArray, float]:
    """Three circles that cover the object as seen from above: centres ``(3, 2)`` and their common radius."""
    long, short = kind.size[0] / 2, kind.size[1] / 2
    reach = max(long - short, 0.0)
    along = np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
    return np.asarray(xy) + np.outer([-reach, 0.0, reach], along), short


def sample_layout(
    rng: np.random.Generator,
    kinds: Sequence[str],
    *,
    container: str | None,
    colors: Mapping[str, Color] | None = None,
) -> Layout:
    """Draws a start in which no two objects touch and none is too near to a wall to be grasped."""
    for gap in np.repeat(OBJECT_GAPS_M, TRIES_PER_GAP):
        container_xy = _container_place(rng, container)
        placements = _place_objects(rng, kinds, container, container_xy, float(gap), colors or {})
        if placements is not None:
            break
    else:
        raise RuntimeError(f"no room for {', '.join(kinds)} beside a {container}: give fewer kinds per episode")
    height = rng.uniform(0.13, 0.18)
    x, y = rng.uniform(-0.09, 0.09, size=2)
    return Layout(placements, container_xy, (float(x), float(y), float(height)), float(rng.uniform(-0.6, 0.6)))


def is_free(
    kind: ObjectKind,
    xy: tuple[float, float],
    yaw_rad: float,
    others: Sequence[tuple[FloatArray, float]],
    keep_out: tuple[tuple[float, float], float] | None,
    gap_m: float,
) -> bool:
    """Whether an object fits somewhere: inside the walls, out of the container, ``gap_m`` from other footprints."""
    centres, radius = footprint(kind, xy, yaw_rad)
    if max(abs(xy[0]), abs(xy[1])) > TRAY_HALF_M - CENTRE_MARGIN_M:
        return False
    if np.abs(centres).max() + radius > TRAY_HALF_M - WALL_MARGIN_M:
        return False
    if keep_out is not None:
        (x, y), half = keep_out
        outside = np.maximum(np.abs(centres - np.array([x, y])) - half, 0.0)
        if np.hypot(outside[:, 0], outside[:, 1]).min() < radius + CONTAINER_MARGIN_M:
            return False
    for other, other_radius in others:
        distances = np.linalg.norm(centres[:, None] - other[None], axis=-1)
        if distances.min() < radius + other_radius + gap_m:
            return False
    return True


def _container_place(rng: np.random.Generator, container: str | None) -> tuple[float, float] | None:
    if container is None:
        return None
    reach = TRAY_HALF_M - container_half_m(container) - 0.002
    # in a corner, so that the rest of the tray stays free
    x, y = rng.choice([-1, 1], size=2) * rng.uniform(reach - 0.015, reach, size=2)
    return float(x), float(y)


def _place_objects(
    rng: np.random.Generator,
    kinds: Sequence[str],
    container: str | None,
    container_xy: tuple[float, float] | None,
    gap_m: float,
    colors: Mapping[str, Color],
) -> tuple[Placement, ...] | None:
    keep_out = None if container_xy is None or container is None else (container_xy, container_half_m(container))
    taken: list[tuple[FloatArray, float]] = []
    placements: list[Placement] = []
    for name in kinds:
        kind = find_kind(name)
        for _ in range(40):
            x, y = rng.uniform(-TRAY_HALF_M, TRAY_HALF_M, size=2)
            yaw = float(rng.uniform(-np.pi, np.pi))
            if is_free(kind, (float(x), float(y)), yaw, taken, keep_out, gap_m):
                break
        else:
            return None
        taken.append(footprint(kind, (float(x), float(y)), yaw))
        placements.append(Placement(name, (float(x), float(y)), yaw, colors.get(name)))
    return tuple(placements)
