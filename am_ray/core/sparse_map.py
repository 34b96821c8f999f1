"""What a state becomes, from few examples: affine maps that change little (adaptive ridge regression, Frommlet and Nuel 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from am_ray.arrays import Float

# Weights far below it count as 0.
_FLOOR = 0.01
_ITERATIONS = 30
# An offset costs this much of a weight: most of what changes, changes by a constant.
_OFFSET_COST = 0.1
# A change is made if the examples explain this share of it; another entry's value, if it explains as much of what one value leaves, too.
_EXPLAINED = 0.5
# Root mean square, in standard deviations of the entry; below it a change is not made.
_LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class AffineMap:
    """y = offset + weight x: ``offset`` ``(g,)``, ``weight`` ``(g, s)``."""

    offset: np.ndarray
    weight: np.ndarray


def sparse_change(
    x: Float[np.ndarray, "n s"],
    y: Float[np.ndarray, "n g"],
    own: np.ndarray,
    mean: Float[np.ndarray, " s"],
    std: Float[np.ndarray, " s"],
    *,
    cost: float,
) -> AffineMap:
    """An affine map in which an entry of y is its own entry of x, but for what the examples tell of its change. Ours.

    For each entry of y, with r its own entry of x, or 0:

        min over offset, weight of  E (1 + cost k),   E = mean (y - r - offset - weight x)^2,   k = number of weights that are not 0

    nearly, and locally: ridge regressions, each with the last one's weights in the denominator of its penalty, approach the number by
    sum w^2 / (w^2 + floor^2); the penalty, in units of mean (y - r)^2, makes what is kept smaller, too. Or, where that gives a smaller value,
    k = 1: y takes the value, in the data's units, of the other entry of x that is nearest to it (the hand comes to where the object is), as it is. It has
    to explain half of what the mean of y leaves: that things lie at about the height at which an object is held does not tell the height.

    Where the smallest value is more than half of the mean squared change of the entry, the entry stays as it is in x: a change that is half
    noise is better not made. Nor is one whose root mean square is less than a tenth of a standard deviation.

    Args:
        x: Inputs, standardised; n at least 1.
        y: What they become, each entry in units of its own entry of x.
        own: The entry of x that each entry of y is, ``(g,)``.
        mean: Of the inputs, in the data's units; what they are standardised with.
        std: The same; positive.
        cost: The share of the squared error that a weight must take off to be kept, an offset a tenth of it; above 0: there may be fewer
            rows than entries, and entries that never change.

    Returns:
        The map, r included.
    """
    ones = np.ones((len(x), 1))
    x, y = np.concatenate([ones, x.astype(np.float64)], axis=1), y.astype(np.float64)
    moments = x.T @ x / len(x)
    rows = []
    for values, entry in zip(y.T, own, strict=True):
        # As maps: the row of an entry of x, in units of this one.
        copies = np.concatenate([((mean - mean[entry]) / std[entry])[:, None], np.diag(std / std[entry])], axis=1)
        rows.append(_row(x, values, moments, copies, int(entry), cost))
    found = np.stack(rows)
    return AffineMap(found[:, 0], found[:, 1:])


def _row(x: np.ndarray, y: np.ndarray, moments: np.ndarray, copies: np.ndarray, own: int, cost: float) -> np.ndarray:
    errors = ((y[:, None] - x @ copies.T) ** 2).mean(axis=0)
    unchanged: np.ndarray = copies[own]
    change = float(errors[own])
    if change < _LEAST_CHANGE**2:
        return unchanged
    candidates = []
    for start in (unchanged, np.zeros_like(unchanged)):
        left = y - x @ start
        row = _sparse(moments, x.T @ left / len(x), cost * float((left**2).mean()))
        weights = float((row**2 / (row**2 + _FLOOR**2)).sum())
        candidates.append((float(((left - x @ row) ** 2).mean()) * (1.0 + cost * weights), start + row))
    nearest = int(errors.argmin())  # its own entry has a value of the whole change, which is refused below
    copied = float(errors[nearest]) * (1.0 + cost)
    if copied < (1.0 - _EXPLAINED) * float(y.var()):
        candidates.append((copied, copies[nearest]))
    value, best = min(candidates, key=lambda candidate: candidate[0])
    return best if value < (1.0 - _EXPLAINED) * change else unchanged


def _sparse(moments: np.ndarray, product: np.ndarray, cost: float) -> np.ndarray:
    costs = np.full(len(product), cost + 1e-12)
    costs[0] *= _OFFSET_COST
    penalty = costs
    for _ in range(_ITERATIONS):
        row: np.ndarray = np.linalg.solve(moments + np.diag(penalty), product)
        penalty = costs / (row**2 + _FLOOR**2)
    return row
