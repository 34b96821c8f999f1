from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from am_ray.envs.assets import box_inertia, cache_folder, lathe_mesh, prism_mesh, tube_mesh, write_once
from am_ray.envs.objects import CONTAINERS, KINDS, container_urdf, object_urdf, tray_urdf
from am_ray.envs.robot import gantry_urdf, panda_urdf


def read_obj(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(v, 3)`` and triangles ``(f, 3)``."""
    lines = [line.split() for line in Path(path).read_text().splitlines()]
    points = np.array([[float(x) for x in line[1:]] for line in lines if line[0] == "v"])
    faces = np.array([[int(c.split("//")[0]) - 1 for c in line[1:]] for line in lines if line[0] == "f"])
    return points, faces


def volume(path: str) -> float:
    """By the divergence theorem: right only if the mesh is closed and every triangle looks outwards."""
    points, faces = read_obj(path)
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)


def test_a_turned_profile_is_closed_and_looks_outwards() -> None:
    sides = 200
    assert volume(lathe_mesh("test_can", [(0.03, -0.04), (0.03, 0.04)], sides)) == pytest.approx(
        np.pi * 0.03**2 * 0.08, rel=1e-3
    )


def test_a_prism_has_the_volume_of_its_outline_times_its_depth() -> None:
    triangle = [(-0.02, 0.0), (0.02, 0.0), (0.0, 0.03)]
    assert volume(prism_mesh("test_prism", triangle, 0.05)) == pytest.approx(0.5 * 0.04 * 0.03 * 0.05, rel=1e-6)


def test_a_straight_tube_is_a_cylinder() -> None:
    path = np.stack([np.linspace(0, 0.1, 5), np.zeros(5)], axis=1)
    assert volume(tube_mesh("test_tube", path, [0.01] * 5, 100)) == pytest.approx(np.pi * 1e-4 * 0.1, rel=2e-3)


def test_the_inertia_of_a_cube_is_m_a2_over_6() -> None:
    assert box_inertia(0.6, (0.1, 0.1, 0.1)) == pytest.approx((0.001, 0.001, 0.001))


def test_a_text_is_written_once_and_another_text_elsewhere() -> None:
    one = write_once("test", ".txt", "a")
    stamp = one.stat().st_mtime_ns
    assert write_once("test", ".txt", "a") == one
    assert one.stat().st_mtime_ns == stamp
    assert write_once("test", ".txt", "b") != one
    assert not list(cache_folder().glob("*.draft"))


@pytest.mark.parametrize(
    "path",
    [
        gantry_urdf,
        tray_urdf,
        *(lambda k=k: object_urdf(k) for k in KINDS.values()),
        *(lambda c=c: container_urdf(c) for c in CONTAINERS),
    ],
)
def test_every_link_has_an_inertial_with_mass(path: object) -> None:
    links = ElementTree.parse(path()).getroot().findall("link")  # type: ignore[operator]
    assert links
    assert all(float(link.find("inertial/mass").get("value")) > 0 for link in links)  # type: ignore[union-attr, arg-type]


def test_the_panda_shows_its_light_meshes_and_they_exist() -> None:
    text = panda_urdf().read_text()
    assert "meshes/visual" not in text
    names = {mesh.get("filename") for mesh in ElementTree.fromstring(text).iter("mesh")}
    assert len(names) == 10
    assert all(Path(str(name)).is_file() for name in names)


def test_masses_and_widths_are_in_the_range_that_can_be_grasped() -> None:
    for kind in KINDS.values():
        assert 0.05 <= kind.mass_kg <= 0.3
        if kind.closing_axis is None:
            assert min(kind.size[:2]) <= 0.065
