"""What a person may say about a dataset when writing it: action bounds and goal features, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from am_ray.types import DatasetError

GoalFeatures = Sequence[str] | Mapping[str, Sequence[int] | None]


def action_bound(value: Sequence[float] | float | None, size: int, where: str) -> tuple[float, ...] | None:
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
