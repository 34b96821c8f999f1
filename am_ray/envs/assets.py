"""Shapes as text: OBJ meshes and URDF bodies, written once to a cache folder under names that hash their content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vector = tuple[float, float, float]
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """One piece of a link: a box of edge lengths ``size``, or a mesh, at ``xyz`` turned by ``rpy``.

    ``color`` is RGB in [0, 1] for a visual piece; pieces without ``visual`` or ``collision`` do not show or touch.
    """

    color: Color = (0.7, 0.7, 0.7)
    size: Vector | None = None
    mesh: str | None = None
    radius: float | None = None
    xyz: Vector = (0.0, 0.0, 0.0)
    rpy: Vector = (0.0, 0.0, 0.0)
    visual: bool = True
    collision: bool = True


@cache
def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/am_ray`` (``~/.cache/am_ray``), or a folder under the temporary one where home is read-only."""
    wanted = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "am_ray"
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        if os.access(wanted, os.W_OK):
            return wanted
    except OSError:
        pass  # a read-only or missing home; shapes are small, so a temporary folder serves as well
    fallback = Path(tempfile.gettempdir()) / f"am_ray-{os.getuid()}"
    fallback.mkdir(parents=True, exist_ok=True)
    return fallback


def write_once(name: str, suffix: str, text: str) -> Path:
    """Writes a text to the cache under a name that holds its hash; safe when several processes do it at once."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}-{digest}{suffix}"
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=path.parent, suffix=".draft")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(draft).replace(path)
    return path


def urdf_link(name: str, mass_kg: float, inertia: Vector, parts: Sequence[Part], com: Vector = (0.0, 0.0, 0.0)) -> str:
    """A URDF link; every link has an inertial, since PyBullet prints a warning for each one without."""
    lines = [f'<link name="{name}">', _inertial(mass_kg, inertia, com)]
    for index, part in enumerate(parts):
        frame = f'<origin xyz="{_numbers(part.xyz)}" rpy="{_numbers(part.rpy)}"/>{_geometry(part)}'
        if part.visual:
            rgba = f"{_numbers(part.color)} 1"
            material = f'<material name="{name}_{index}"><color rgba="{rgba}"/></material>'
            lines.append(f"<visual>{frame}{material}</visual>")
        if part.collision:
            lines.append(f"<collision>{frame}</collision>")
    return "\n".join([*lines, "</link>"])


def box_inertia(mass_kg: float, size: Vector) -> Vector:
    """Principal moments of a solid box, kg m^2."""
    x, y, z = (edge * edge for edge in size)
    return (mass_kg * (y + z) / 12, mass_kg * (x + z) / 12, mass_kg * (x + y) / 12)


def body_urdf(name: str, mass_kg: float, size: Vector, parts: Sequence[Part]) -> Path:
    """A body of one link, with the inertia of a solid box of ``size``; returns the path of its URDF."""
    link = urdf_link(name, mass_kg, box_inertia(mass_kg, size), parts)
    return write_once(name, ".urdf", f'<?xml version="1.0"?>\n<robot name="{name}">\n{link}\n</robot>\n')


def prism_mesh(name: str, outline: Sequence[tuple[float, float]], depth: float) -> str:
    """A convex outline in the xz plane, drawn out along y, centred; returns the path of its OBJ."""
    points = [(x, side * depth / 2, z) for side in (-1, 1) for x, z in outline]
    n = len(outline)
    faces = [[*range(n)], [*range(2 * n - 1, n - 1, -1)]]
    faces += [[(i + 1) % n, i, n + i, n + (i + 1) % n] for i in range(n)]
    return _mesh(name, np.array(points), faces)


def lathe_mesh(name: str, profile: Sequence[tuple[float, float]], sides: int) -> str:
    """A profile of (radius, z) points turned about z; the ends are closed. Returns the path of its OBJ."""
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = np.array([[(r * np.cos(a), r * np.sin(a), z) for a in angles] for r, z in profile])
    return _mesh(name, rings.reshape(-1, 3), _tube_faces(len(profile), sides))


def tube_mesh(name: str, path: npt.NDArray[np.float64], radii: Sequence[float], sides: int) -> str:
    """A tube around a planar (xy) polyline ``(p, 2)`` with a radius per point; returns the path of its OBJ."""
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    angles = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    rings = [
        [(x - r * np.cos(a) * ty, y + r * np.cos(a) * tx, r * np.sin(a)) for a in angles]
        for (x, y), (tx, ty), r in zip(path, tangent, radii, strict=True)
    ]
    return _mesh(name, np.array(rings).reshape(-1, 3), _tube_faces(len(path), sides))


def _tube_faces(rings: int, sides: int) -> list[list[int]]:
    quads = [
        [r * sides + i, r * sides + (i + 1) % sides, (r + 1) * sides + (i + 1) % sides, (r + 1) * sides + i]
        for r in range(rings - 1)
        for i in range(sides)
    ]
    last = (rings - 1) * sides
    return [*quads, [*range(sides - 1, -1, -1)], [*range(last, last + sides)]]


def _mesh(name: str, points: npt.NDArray[np.float64], faces: Sequence[Sequence[int]]) -> str:
    centre = points.mean(axis=0)
    lines = [f"v {_numbers(p)}" for p in points]
    normals, triangles = [], []
    for face in faces:
        normal = np.cross(points[face[1]] - points[face[0]], points[face[2]] - points[face[1]])
        middle = points[list(face)].mean(axis=0)
        ordered = list(face) if float(normal @ (middle - centre)) >= 0 else list(face)[::-1]
        length = float(np.linalg.norm(normal)) or 1.0
        outward = normal / length * (1.0 if ordered == list(face) else -1.0)
        normals.append(f"vn {_numbers(outward)}")
        k = len(normals)
        for i in range(1, len(ordered) - 1):
            corners = (ordered[0], ordered[i], ordered[i + 1])
            triangles.append("f " + " ".join(f"{c + 1}//{k}" for c in corners))
    return str(write_once(name, ".obj", "\n".join([*lines, *normals, *triangles]) + "\n"))


def _inertial(mass_kg: float, inertia: Vector, com: Vector) -> str:
    ixx, iyy, izz = inertia
    moments = f'<inertia ixx="{ixx:.9g}" ixy="0" ixz="0" iyy="{iyy:.9g}" iyz="0" izz="{izz:.9g}"/>'
    return f'<inertial><origin xyz="{_numbers(com)}"/><mass value="{mass_kg:.9g}"/>{moments}</inertial>'


def _geometry(part: Part) -> str:
    if part.size is not None:
        return f'<geometry><box size="{_numbers(part.size)}"/></geometry>'
    if part.radius is not None:
        return f'<geometry><sphere radius="{part.radius:.9g}"/></geometry>'
    return f'<geometry><mesh filename="{part.mesh}"/></geometry>'


def _numbers(values: Sequence[float] | npt.NDArray[np.float64]) -> str:
    return " ".join(f"{float(v):.6g}" for v in values)
