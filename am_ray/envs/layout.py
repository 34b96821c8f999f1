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
BIN_MARGIN_M = 0.05  # 3 cm and a finger's width from its wall
PLATE_MARGIN_M = 0.03  # it has no wall
OBJECT_GAPS_M = (0.035, 0.028, 0.02, 0.014, 0.009, 0.005)  # tried in this order: wide gaps let the open fingers in
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
class KeepOut:
    """Ground that no object may start on: a square or a disc of half width ``half_m``, and a margin around it."""

    centre: tuple[float, float]
    half_m: float
    margin_m: float
    is_round: bool

    def distance_m(self, x: float, y: float) -> float:
        """From a point to the square or disc; 0 inside."""
        dx, dy = abs(x - self.centre[0]), abs(y - self.centre[1])
        if self.is_round:
            return max(math.hypot(dx, dy) - self.half_m, 0.0)
        return math.hypot(max(dx - self.half_m, 0.0), max(dy - self.half_m, 0.0))


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


def keep_out_of(container: str | None, xy: tuple[float, float] | None, margin_m: float | None = None) -> KeepOut | None:
    """The ground of a container with the margin of a start, or another one; ``None`` without a container."""
    if container is None or xy is None:
        return None
    is_round = container == "plate"
    if margin_m is None:
        margin_m = PLATE_MARGIN_M if is_round else BIN_MARGIN_M
    return KeepOut(xy, container_half_m(container), margin_m, is_round)


def footprint(kind: ObjectKind, xy: tuple[float, float], yaw_rad: float) -> Footprint:
    """Circles in a row along the object's long side, at most a diameter apart, that cover it as seen from above.

    Corners stick out by at most 0.41 radii.
    """
    long, short = kind.size[0] / 2, kind.size[1] / 2
    reach = max(long - short, 0.0)
    count = math.ceil(reach / short - 1e-9) + 1
    steps = [reach * (2 * i / (count - 1) - 1) for i in range(count)] if count > 1 else [0.0]
    (x, y), cos, sin = xy, math.cos(yaw_rad), math.sin(yaw_rad)
    return Footprint(tuple((x + step * cos, y + step * sin) for step in steps), short)


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
    keep_out: KeepOut | None,
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
        clear = mine.radius + keep_out.margin_m
        if any(keep_out.distance_m(x, y) < clear for x, y in mine.centres):
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
    keep_out = keep_out_of(container, container_xy)
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
