"""Frames for people: larger, with shadows, drawn at twice the size and averaged down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from am_ray.envs.sim import Camera, Light, Simulation

PORTRAIT_CAMERA = Camera(eye=(0.78, 0.48, 0.66), target=(-0.05, -0.01, 0.085), fov_deg=33.0)
PORTRAIT_LIGHT = Light(direction=(0.7, 0.5, 1.5), ambient=0.6, diffuse=0.46, specular=0.0, shadow=True)


def portrait(sim: Simulation, size: int = 480, supersample: int = 2) -> npt.NDArray[np.uint8]:
    """A frame ``(size, size, 3)`` uint8."""
    large = size * supersample
    pixels = sim.render(PORTRAIT_CAMERA, large, large, PORTRAIT_LIGHT)
    blocks = pixels.reshape(size, supersample, size, supersample, 3)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), dtype=np.uint8)
