from __future__ import annotations

import itertools

import numpy as np
import pytest

from am_ray.envs.layout import BIN_MARGIN_M, OBJECT_GAPS_M, PLATE_MARGIN_M, container_half_m, footprint, sample_layout
from am_ray.envs.objects import KINDS, TRAY_HALF_M
from am_ray.types import SettingsError

FIVE = ("box", "banana", "milk", "can", "apple")


def outline(kind: str, xy: tuple[float, float], yaw: float) -> np.ndarray:
    """Points of the object's rectangle from above, ``(p, 2)``."""
    a, b = KINDS[kind].size[0] / 2, KINDS[kind].size[1] / 2
    grid = np.array([(u * a, v * b) for u in np.linspace(-1, 1, 9) for v in np.linspace(-1, 1, 9)])
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    return grid @ turn.T + np.asarray(xy)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_footprint_covers_the_object_up_to_its_corners(kind: str) -> None:
    circles = footprint(KINDS[kind], (0.02, -0.03), 0.7)
    points = outline(kind, (0.02, -0.03), 0.7)
    distance = np.linalg.norm(points[:, None] - np.array(circles.centres)[None], axis=-1).min(axis=1)
    # what sticks out is a corner, by at most (sqrt 2 - 1) radii, which the gap of 2 cm and more is there for
    assert distance.max() <= circles.radius * np.sqrt(2) + 1e-9


@pytest.mark.parametrize("kinds", [("box", "banana", "milk"), FIVE])
@pytest.mark.parametrize("container", ["bin", "plate", None])
def test_objects_keep_apart_from_each_other_the_walls_and_the_container(
    kinds: tuple[str, ...], container: str | None
) -> None:
    for seed in range(15):
        layout = sample_layout(np.random.default_rng(seed), kinds, container=container)
        assert [placement.kind for placement in layout.objects] == list(kinds)
        shapes = [outline(p.kind, p.xy, p.yaw_rad) for p in layout.objects]
        for one, other in itertools.combinations(shapes, 2):
            assert np.linalg.norm(one[:, None] - other[None], axis=-1).min() > 0.0
        assert np.abs(np.concatenate(shapes)).max() < TRAY_HALF_M
        if container is not None:
            assert layout.container_xy is not None
            for placement in layout.objects:
                circles = footprint(KINDS[placement.kind], placement.xy, placement.yaw_rad)
                apart = np.abs(np.array(circles.centres) - np.array(layout.container_xy))
                half = container_half_m(container)
                to_wall = (
                    np.hypot(*np.maximum(apart - half, 0.0).T) if container == "bin" else np.hypot(*apart.T) - half
                )
                margin = BIN_MARGIN_M if container == "bin" else PLATE_MARGIN_M
                assert to_wall.min() - circles.radius >= margin - 1e-9


def test_the_draw_follows_from_the_generator_alone() -> None:
    one, two = (sample_layout(np.random.default_rng(4), FIVE, container="bin") for _ in range(2))
    assert one == two
    assert one != sample_layout(np.random.default_rng(5), FIVE, container="bin")


def test_three_objects_get_the_widest_gap() -> None:
    layout = sample_layout(np.random.default_rng(0), ("box", "banana", "milk"), container="bin")
    circles = [footprint(KINDS[p.kind], p.xy, p.yaw_rad) for p in layout.objects]
    for one, other in itertools.combinations(circles, 2):
        apart = np.linalg.norm(np.array(one.centres)[:, None] - np.array(other.centres)[None], axis=-1).min()
        assert apart - one.radius - other.radius >= OBJECT_GAPS_M[0] - 1e-9


def test_containers_stand_in_all_four_corners_and_inside_the_walls() -> None:
    places = [sample_layout(np.random.default_rng(s), ("cube",), container="bin").container_xy for s in range(40)]
    corners = {(x > 0, y > 0) for x, y in places if (x, y)}  # type: ignore[misc]
    assert len(corners) == 4
    assert max(max(abs(x), abs(y)) for x, y in places) + container_half_m("bin") < TRAY_HALF_M  # type: ignore[misc]


def test_too_many_objects_are_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match="Give fewer objects"):
        sample_layout(np.random.default_rng(0), tuple(KINDS), container="bin")
