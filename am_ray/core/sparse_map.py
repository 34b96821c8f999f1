"""What a state becomes, from few examples: affine maps that change little (adaptive ridge regression, Frommlet and Nuel 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from am_ray.arrays import Float

# Weights far below it count as 0.
_FLOOR = 0.01
_ITERATIONS = 30
# An offset costs this much of a weight: most of what changes, changes by a constant.
_OFFSET_COST = 0.1
# A change is made if the examples explain this share of it; another entry's value, if it explains as much of what one value leaves, too.
_EXPLAINED = 0.5
# What the entry beside suggests is taken in place of something else that was found if it leaves less than so many times as much.
_NEARLY = 2.0
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

    At last an entry beside one that was found to take another's value takes the value beside that one in place of what else was found for it, if this
    explains half of what the mean leaves, too, and leaves less than twice as much as what was found: what comes to an object along one axis comes to
    it along the next, also where a few examples can be told otherwise. An entry that has taken a value itself is left alone.

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
    x = np.concatenate([np.ones((len(x), 1)), x.astype(np.float64)], axis=1)
    y = y.astype(np.float64)
    moments = x.T @ x / len(x)
    entries = [_Entry(x, y[:, j], int(own[j]), mean, std, cost) for j in range(len(own))]
    fits = [entry.fit(moments) for entry in entries]
    rows = np.stack([fit.row for fit in fits])
    for j, entry in enumerate(entries):
        beside = [i for i in (j - 1, j + 1) if 0 <= i < len(own) and own[j] - own[i] == j - i]
        values = [fits[i].value + j - i for i in beside if fits[i].value >= 0]
        values = [value for value in values if 0 <= value < len(mean) and entry.follows(value, fits[j])]
        if values:
            rows[j] = entry.copies[min(values, key=lambda value: float(entry.errors[value]))]
    return AffineMap(rows[:, 0], rows[:, 1:])


@dataclass(frozen=True)
class _Fit:
    """What was found for an entry of y: a row (offset, weight), what it leaves, and the other entry whose value it takes or -1."""

    row: np.ndarray
    error: float
    value: int = -1


@dataclass(frozen=True)
class _Entry:
    """One entry of y, and the maps to it, rows of an offset and the weights of x.

    Attributes:
        x: Inputs behind a column of ones, ``(n, 1 + s)``.
        y: Its values, ``(n,)``.
        own: The entry of the inputs that it is; mean, std and cost are those of `sparse_change`.
    """

    x: np.ndarray
    y: np.ndarray
    own: int
    mean: np.ndarray
    std: np.ndarray
    cost: float

    @cached_property
    def copies(self) -> np.ndarray:
        """The rows that take the value of each entry of x, in units of the own one."""
        own = self.own
        return np.concatenate(
            [((self.mean - self.mean[own]) / self.std[own])[:, None], np.diag(self.std / self.std[own])], axis=1
        )

    @cached_property
    def errors(self) -> np.ndarray:
        """What they leave, ``(s,)``."""
        return np.asarray(((self.y[:, None] - self.x @ self.copies.T) ** 2).mean(axis=0))

    @property
    def change(self) -> float:
        """Mean square of what changes, which staying as it is leaves."""
        return float(self.errors[self.own])

    def takes(self, value: int) -> bool:
        """Whether another entry's value explains enough of what the mean leaves."""
        left = self._with_cost(float(self.errors[value]), 1.0)
        return value != self.own and left < (1.0 - _EXPLAINED) * float(self.y.var())

    def follows(self, value: int, found: _Fit) -> bool:
        """Whether it takes a value that is suggested by the entry beside it, in place of what was found."""
        return found.value < 0 and self.takes(value) and float(self.errors[value]) < _NEARLY * found.error

    def fit(self, moments: np.ndarray) -> _Fit:
        """Of this entry alone: few weights, another entry's value, or no change."""
        x, y = self.x, self.y
        unchanged = _Fit(self.copies[self.own], self.change)
        if self.change < _LEAST_CHANGE**2:
            return unchanged
        candidates = []
        for start in (unchanged.row, np.zeros_like(unchanged.row)):
            left = y - x @ start
            row = _sparse(moments, x.T @ left / len(x), self.cost * float((left**2).mean()))
            weights = float((row**2 / (row**2 + _FLOOR**2)).sum())
            error = float(((left - x @ row) ** 2).mean())
            candidates.append((self._with_cost(error, weights), _Fit(start + row, error)))
        nearest = int(self.errors.argmin())
        if self.takes(nearest):
            error = float(self.errors[nearest])
            candidates.append((self._with_cost(error, 1.0), _Fit(self.copies[nearest], error, nearest)))
        value, best = min(candidates, key=lambda candidate: candidate[0])
        return best if value < (1.0 - _EXPLAINED) * self.change else unchanged

    def _with_cost(self, error: float, weights: float) -> float:
        return error * (1.0 + self.cost * weights)


def _sparse(moments: np.ndarray, product: np.ndarray, cost: float) -> np.ndarray:
    costs = np.full(len(product), cost + 1e-12)
    costs[0] *= _OFFSET_COST
    penalty = costs
    for _ in range(_ITERATIONS):
        row: np.ndarray = np.linalg.solve(moments + np.diag(penalty), product)
        penalty = costs / (row**2 + _FLOOR**2)
    return row
