"""What a person may say about a dataset when writing it: frame rate, action bounds, goal features; checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from am_ray.data.schema import Feature, features_for
from am_ray.types import DatasetError, Trajectory

GoalFeatures = Sequence[str] | Mapping[str, Sequence[int] | None]
Bound = Sequence[float] | float | None

BOUNDS_TOLERANCE = 1e-4


def checked_fps(fps: float, where: str) -> float:
    if not (math.isfinite(fps) and fps > 0):
        raise DatasetError(f"{where}: fps {fps!r}; expected a positive number of frames per second. Correct it.")
    return float(fps)


def checked_bounds(low: Bound, high: Bound, where: str) -> tuple[Bound, Bound]:
    """Both bounds as they are; whether they fit the actions is known with the first episode (`action_bound`).

    Raises:
        DatasetError: If there is only one, or an entry's lower bound is above its upper one.
    """
    if (low is None) != (high is None):
        raise DatasetError(f"{where}: got one action bound; expected both, or none. Give the other one too.")
    fit = low is not None and high is not None and (np.ndim(low) == 0 or np.ndim(high) == 0 or len(low) == len(high))  # type: ignore[arg-type]
    if fit and (np.asarray(low) > np.asarray(high)).any():
        raise DatasetError(
            f"{where}: action_low {low!r} is above action_high {high!r}; expected low <= high. Swap them."
        )
    return low, high


def action_bound(value: Bound, size: int, where: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    bound = (
        np.broadcast_to(np.asarray(value, np.float64), (size,))
        if np.ndim(value) == 0
        else np.asarray(value, np.float64)
    )
    if bound.shape != (size,) or not np.isfinite(bound).all():
        raise DatasetError(
            f"{where}: action bound {value!r}; expected one finite number or {size} of them. Correct it."
        )
    return tuple(bound.tolist())


def check_inside(actions: np.ndarray, low: Sequence[float] | None, high: Sequence[float] | None, where: str) -> None:
    """Raise `DatasetError` if an action leaves its bounds by more than rounding."""
    if low is None or high is None:
        return
    lowest, highest = actions.min(axis=0), actions.max(axis=0)
    if (lowest < np.array(low) - BOUNDS_TOLERANCE).any() or (highest > np.array(high) + BOUNDS_TOLERANCE).any():
        raise DatasetError(
            f"{where} has actions from {lowest.tolist()} to {highest.tolist()}; expected them between {list(low)} and "
            f"{list(high)}. Clip them, or give wider bounds."
        )


def check_same_features(trajectory: Trajectory, expected: Mapping[str, Feature], where: str) -> None:
    """Raise `DatasetError` unless a trajectory has the features of those before it."""
    shapes = {name: value.shape[1:] for name, value in trajectory.observations.items()}
    found = features_for(shapes, trajectory.actions.shape[1])
    if found != expected:
        names = [n for n in {**expected, **found} if found.get(n) != expected.get(n)]
        detail = "; ".join(f"{n}: {_shape(found, n)}, expected {_shape(expected, n)}" for n in names)
        raise DatasetError(f"{where} differs from the episodes before it: {detail}. Write it to another dataset.")


def _shape(features: Mapping[str, Feature], name: str) -> str:
    return f"{features[name].dtype}{list(features[name].shape)}" if name in features else "nothing"


def goal_indices_of(
    goal_features: GoalFeatures | None, shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, tuple[int, ...] | None]:
    wanted: Mapping[str, Sequence[int] | None]
    if goal_features is None:
        wanted = dict.fromkeys(shapes)
    elif isinstance(goal_features, Mapping):
        wanted = goal_features
    else:
        wanted = dict.fromkeys(goal_features)
    indices = {name: None if value is None else tuple(int(i) for i in value) for name, value in wanted.items()}
    for name, picked in indices.items():
        known = name in shapes and (
            picked is None or (len(shapes[name]) == 1 and picked and _inside(picked, shapes[name][0]))
        )
        if not known:
            raise DatasetError(
                f"{where}: goal feature {name!r} with entries {picked}; expected one of {sorted(shapes)}, and entries of a "
                "one-dimensional one. Correct goal_features."
            )
    if not indices:
        raise DatasetError(
            f"{where}: no goal features; expected at least one of {sorted(shapes)}. Correct goal_features."
        )
    return indices


def _inside(indices: tuple[int, ...], size: int) -> bool:
    return all(0 <= index < size for index in indices)
