"""The household objects, the containers and the tray: sizes, colours, shapes and how each is grasped.

All are our own: primitives and small meshes written at run time, so nothing third-party is redistributed.
Lengths in metres, masses in kg. An object's origin is its centre of mass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from am_ray.envs.assets import Color, Part, Vector, body_urdf, lathe_mesh, prism_mesh, tube_mesh
from am_ray.types import SettingsError

TRAY_HALF_M = 0.17
TRAY_WALL_M = 0.022
BIN_HALF_M = 0.062  # inner half width
BIN_WALL_M = 0.045
BIN_THICKNESS_M = 0.004
PLATE_RADIUS_M = 0.075
CONTAINERS = ("bin", "plate")


@dataclass(frozen=True)
class ObjectKind:
    """One kind of object.

    Attributes:
        size: Edge lengths of its bounding box as it rests.
        mass_kg: 0.05 to 0.3 grasps well; 1 kg does not.
        colors: Default colours; the first one can be chosen per episode.
        grasp_point: Where the fingers meet, in the body's frame.
        closing_axis: The body axis along which the fingers close as it rests; ``None``: its narrowest horizontal one.
        round_about_z: Every yaw is as good as another.
        rolling: Rolling friction; without it a sphere never comes to rest.
        parts: Builds the pieces from the colours.
    """

    name: str
    size: Vector
    mass_kg: float
    colors: tuple[Color, ...]
    parts: Callable[[tuple[Color, ...]], list[Part]]
    grasp_point: Vector = (0.0, 0.0, 0.0)
    closing_axis: int | None = None
    round_about_z: bool = False
    rolling: float = 0.0


@lru_cache(maxsize=1024)
def object_urdf(kind: ObjectKind, color: Color | None = None) -> Path:
    """Path of an object's URDF, in the default colours or with another first one."""
    colors = kind.colors if color is None else (color, *kind.colors[1:])
    return body_urdf(kind.name, kind.mass_kg, kind.size, kind.parts(colors))


def _box(colors: tuple[Color, ...]) -> list[Part]:
    return [
        Part(color=colors[0], size=(0.09, 0.06, 0.04)),
        Part(color=colors[1], size=(0.034, 0.0606, 0.0406), collision=False),
    ]


def _banana(colors: tuple[Color, ...]) -> list[Part]:
    angles = np.radians(np.linspace(-52, 52, 9))
    path = 0.062 * np.stack([np.sin(angles), np.cos(angles)], axis=1) - np.array([0.0, 0.051])
    radii = [0.006, 0.0125, 0.0155, 0.0165, 0.017, 0.0165, 0.0155, 0.0125, 0.005]
    pieces = [((0.0, 0.0105), 0.036, 0.0), ((-0.0325, -0.0015), 0.034, 36.0), ((0.0325, -0.0015), 0.034, -36.0)]
    hard = [
        Part(size=(length, 0.03, 0.032), xyz=(x, y, 0.0), rpy=(0.0, 0.0, float(np.radians(turn))), visual=False)
        for (x, y), length, turn in pieces
    ]
    ends = [
        Part(color=colors[1], size=(0.008, 0.008, 0.008), xyz=(float(x), float(y), 0.0), collision=False)
        for x, y in path[[0, -1]]
    ]
    return [Part(color=colors[0], mesh=tube_mesh("banana", path, radii, 8), collision=False), *hard, *ends]


def _milk(colors: tuple[Color, ...]) -> list[Part]:
    gable = prism_mesh("gable", [(-0.028, -0.0125), (0.028, -0.0125), (0.003, 0.0125), (-0.003, 0.0125)], 0.056)
    return [
        Part(color=colors[0], size=(0.056, 0.056, 0.075), xyz=(0.0, 0.0, -0.0125)),
        Part(color=colors[1], size=(0.0566, 0.0566, 0.026), xyz=(0.0, 0.0, -0.012), collision=False),
        Part(color=colors[1], mesh=gable, xyz=(0.0, 0.0, 0.0375)),
    ]


def _can(colors: tuple[Color, ...]) -> list[Part]:
    body = lathe_mesh("can", [(0.028, -0.04), (0.03, -0.037), (0.03, 0.037), (0.028, 0.04)], 14)
    lid = lathe_mesh("lid", [(0.026, 0.0), (0.026, 0.0012)], 14)
    return [
        Part(color=colors[0], mesh=body),
        Part(color=colors[1], mesh=lid, xyz=(0.0, 0.0, 0.04), collision=False),
    ]


def _apple(colors: tuple[Color, ...]) -> list[Part]:
    turns = np.radians(np.linspace(-80, 80, 8))
    profile = [(0.031 * float(np.cos(a)), 0.031 * float(np.sin(a))) for a in turns]
    return [
        Part(color=colors[0], mesh=lathe_mesh("apple", profile, 12), collision=False),
        Part(color=colors[1], size=(0.004, 0.004, 0.014), xyz=(0.0, 0.0, 0.034), collision=False),
        Part(radius=0.031, visual=False),
    ]


def _cube(colors: tuple[Color, ...]) -> list[Part]:
    return [Part(color=colors[0], size=(0.045, 0.045, 0.045))]


def _sponge(colors: tuple[Color, ...]) -> list[Part]:
    return [
        Part(color=colors[0], size=(0.085, 0.055, 0.022), xyz=(0.0, 0.0, -0.004)),
        Part(color=colors[1], size=(0.085, 0.055, 0.008), xyz=(0.0, 0.0, 0.011)),
    ]


def _stick(colors: tuple[Color, ...]) -> list[Part]:
    return [
        Part(color=colors[0], size=(0.11, 0.022, 0.022)),
        Part(color=colors[1], size=(0.018, 0.0226, 0.0226), xyz=(0.046, 0.0, 0.0), collision=False),
    ]


def _tee(colors: tuple[Color, ...]) -> list[Part]:
    return [
        Part(color=colors[0], size=(0.09, 0.028, 0.028), xyz=(0.0, 0.0195, 0.0)),
        Part(color=colors[0], size=(0.028, 0.05, 0.028), xyz=(0.0, -0.0195, 0.0)),
    ]


def _kinds() -> tuple[ObjectKind, ...]:
    red, yellow, green, blue = (0.80, 0.13, 0.12), (0.97, 0.80, 0.15), (0.20, 0.60, 0.27), (0.15, 0.35, 0.75)
    white, brown, steel, orange = (0.95, 0.95, 0.93), (0.35, 0.22, 0.12), (0.75, 0.77, 0.80), (0.95, 0.50, 0.15)
    return (
        ObjectKind("box", (0.09, 0.06, 0.04), 0.12, (red, yellow), _box),
        ObjectKind("banana", (0.104, 0.05, 0.032), 0.10, (yellow, brown), _banana, grasp_point=(0.0, 0.0105, 0.0)),
        ObjectKind("milk", (0.056, 0.056, 0.10), 0.15, (white, blue), _milk),
        ObjectKind("can", (0.06, 0.06, 0.08), 0.12, (green, steel), _can, round_about_z=True, rolling=1e-3),
        ObjectKind("apple", (0.062, 0.062, 0.062), 0.10, (red, brown), _apple, round_about_z=True, rolling=2e-3),
        ObjectKind("cube", (0.045, 0.045, 0.045), 0.08, (blue,), _cube),
        ObjectKind("sponge", (0.085, 0.055, 0.03), 0.05, (yellow, green), _sponge),
        ObjectKind("stick", (0.11, 0.022, 0.022), 0.06, (brown, orange), _stick),
        ObjectKind("tee", (0.09, 0.078, 0.028), 0.08, (orange,), _tee, grasp_point=(0.0, -0.012, 0.0), closing_axis=0),
    )


KINDS: dict[str, ObjectKind] = {kind.name: kind for kind in _kinds()}


def find_kind(name: str) -> ObjectKind:
    """The kind of that name.

    Raises:
        SettingsError: There is none.
    """
    if name not in KINDS:
        raise SettingsError(f"kinds: got {name!r}; expected one of {', '.join(KINDS)}. Correct the name.")
    return KINDS[name]


@cache
def tray_urdf() -> Path:
    """The tray, its floor's top at z = 0, and the table around it."""
    floor, rim, table = (0.90, 0.91, 0.92), (0.36, 0.40, 0.46), (0.78, 0.68, 0.55)
    half, wall, thick = TRAY_HALF_M, TRAY_WALL_M, 0.01
    outer = 2 * (half + thick)
    parts = [
        Part(color=floor, size=(outer, outer, thick), xyz=(0.0, 0.0, -thick / 2)),
        Part(color=table, size=(1.5, 1.5, 0.04), xyz=(0.0, 0.0, -thick - 0.0201)),
    ]
    for side in (-1, 1):
        middle = side * (half + thick / 2)
        parts.append(Part(color=rim, size=(thick, outer, wall), xyz=(middle, 0.0, wall / 2)))
        parts.append(Part(color=rim, size=(outer, thick, wall), xyz=(0.0, middle, wall / 2)))
    return body_urdf("tray", 1.0, (0.36, 0.36, 0.02), parts)


@cache
def container_urdf(container: str) -> Path:
    """A bin (square, walls of 4.5 cm) or a plate (round, flat), its underside at z = 0."""
    if container == "plate":
        dish = lathe_mesh("dish", [(0.064, 0.0), (PLATE_RADIUS_M, 0.006)], 24)
        inlay = lathe_mesh("inlay", [(0.055, 0.0), (0.055, 0.0006)], 24)
        parts = [
            Part(color=(0.35, 0.55, 0.80), mesh=dish),
            Part(color=(0.72, 0.84, 0.95), mesh=inlay, xyz=(0.0, 0.0, 0.006), collision=False),
        ]
        return body_urdf("plate", 1.0, (0.14, 0.14, 0.01), parts)
    color, thick, half = (0.20, 0.55, 0.62), BIN_THICKNESS_M, BIN_HALF_M
    outer = 2 * (half + thick)
    parts = [Part(color=color, size=(outer, outer, thick), xyz=(0.0, 0.0, thick / 2))]
    for side in (-1, 1):
        middle = side * (half + thick / 2)
        parts.append(Part(color=color, size=(thick, outer, BIN_WALL_M), xyz=(middle, 0.0, BIN_WALL_M / 2)))
        parts.append(Part(color=color, size=(outer, thick, BIN_WALL_M), xyz=(0.0, middle, BIN_WALL_M / 2)))
    return body_urdf("bin", 1.0, (0.13, 0.13, 0.05), parts)
