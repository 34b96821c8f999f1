"""Random starts: where the objects, the container and the gripper are before the first action."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from am_ray.envs.assets import Color
from am_ray.envs.objects import BIN_HALF_M, BIN_THICKNESS_M, PLATE_RADIUS_M, TRAY_HALF_M, ObjectKind, find_kind
from am_ray.types import SettingsError

WALL_MARGIN_M = 0.02  # a finger must fit between an object and the tray's wall
CENTRE_MARGIN_M = 0.055  # and so must the open hand
CONTAINER_MARGIN_M = 0.05  # 3 cm and a finger's width
OBJECT_GAPS_M = (0.035, 0.028, 0.02, 0.014, 0.008)  # tried in this order: wide gaps let the open fingers in
TRIES_PER_GAP = 20
TRIES_PER_OBJECT = 40


@dataclass(frozen=True)
class Placement:
    """An object at rest: centre in the plane, yaw, and the colour that replaces its first one."""

    kind: str
    xy: tuple[float, float]
    yaw_rad: float
    color: Color | None = None


@dataclass(frozen=True)
class Footprint:
    """Circles of one radius."""

    centres: tuple[tuple[float, float], ...]
    radius: float


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


def footprint(kind: ObjectKind, xy: tuple[float, float], yaw_rad: float) -> Footprint:
    """Three circles that cover the object as seen from above."""
    long, short = kind.size[0] / 2, kind.size[1] / 2
    reach = max(long - short, 0.0)
    dx, dy = reach * math.cos(yaw_rad), reach * math.sin(yaw_rad)
    x, y = xy
    return Footprint(((x - dx, y - dy), (x, y), (x + dx, y + dy)), short)


def sample_layout(
    rng: np.random.Generator,
    kinds: Sequence[str],
    *,
    container: str | None,
    colors: Mapping[str, Color] | None = None,
) -> Layout:
    """Draws a start in which no two objects touch and none is too near to a wall to be grasped.

    Raises:
        SettingsError: There is no room for so many objects.
    """
    for gap in np.repeat(OBJECT_GAPS_M, TRIES_PER_GAP):
        container_xy = _container_place(rng, container)
        placements = _place_objects(rng, kinds, container, container_xy, float(gap), colors or {})
        if placements is not None:
            break
    else:
        raise SettingsError(
            f"tray start: found no room for {', '.join(kinds)} with container {container}; expected objects that fit "
            "into a tray of 34 cm with space for the hand between them. Give fewer objects per episode (num_objects)."
        )
    height = rng.uniform(0.13, 0.18)
    x, y = rng.uniform(-0.09, 0.09, size=2)
    return Layout(placements, container_xy, (float(x), float(y), float(height)), float(rng.uniform(-0.6, 0.6)))


def is_free(
    kind: ObjectKind,
    xy: tuple[float, float],
    yaw_rad: float,
    others: Sequence[Footprint],
    keep_out: tuple[tuple[float, float], float] | None,
    gap_m: float,
) -> bool:
    """Whether an object fits somewhere: inside the walls, out of the container, ``gap_m`` from other footprints.

    In plain Python, since it runs thousands of times per start on a handful of numbers.
    """
    if max(abs(xy[0]), abs(xy[1])) > TRAY_HALF_M - CENTRE_MARGIN_M:
        return False
    mine = footprint(kind, xy, yaw_rad)
    limit = TRAY_HALF_M - WALL_MARGIN_M - mine.radius
    if any(abs(x) > limit or abs(y) > limit for x, y in mine.centres):
        return False
    if keep_out is not None:
        (cx, cy), half = keep_out
        distance = mine.radius + CONTAINER_MARGIN_M
        for x, y in mine.centres:
            if math.hypot(max(abs(x - cx) - half, 0.0), max(abs(y - cy) - half, 0.0)) < distance:
                return False
    for other in others:
        apart = (mine.radius + other.radius + gap_m) ** 2
        for x, y in mine.centres:
            if any((x - u) ** 2 + (y - v) ** 2 < apart for u, v in other.centres):
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
    taken: list[Footprint] = []
    placements: dict[str, Placement] = {}
    for name in sorted(kinds, key=lambda k: -find_kind(k).size[0]):  # the longest first: it has the fewest places
        kind = find_kind(name)
        draws = rng.uniform(-1.0, 1.0, size=(TRIES_PER_OBJECT, 3)) * (TRAY_HALF_M, TRAY_HALF_M, math.pi)
        for x, y, yaw in draws.tolist():
            if is_free(kind, (x, y), yaw, taken, keep_out, gap_m):
                break
        else:
            return None
        taken.append(footprint(kind, (x, y), yaw))
        placements[name] = Placement(name, (x, y), yaw, colors.get(name))
    return tuple(placements[name] for name in kinds)
