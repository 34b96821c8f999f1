"""Ridge regression in closed form (Hoerl and Kennard 1970)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from am_ray.arrays import Float


@dataclass(frozen=True)
class AffineMap:
    """y = offset + weight x: ``offset`` ``(g,)``, ``weight`` ``(g, s)``."""

    offset: np.ndarray
    weight: np.ndarray


def ridge_regression(x: Float[np.ndarray, "n s"], y: Float[np.ndarray, "n g"], *, strength: float) -> AffineMap:
    """argmin over affine maps of  mean |y - offset - weight x|^2 + strength |weight|^2.

    Args:
        x: Inputs, in units in which they are of order 1; n at least 1.
        y: What they are mapped to.
        strength: Above 0: there may be fewer rows than entries, and entries that never change.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    dx, dy = x - x_mean, y - y_mean
    weight = np.linalg.solve(dx.T @ dx / len(x) + strength * np.eye(x.shape[1]), dx.T @ dy / len(x)).T
    return AffineMap(y_mean - weight @ x_mean, weight)
