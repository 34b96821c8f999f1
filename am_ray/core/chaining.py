"""Where other episodes go on from: for each state, the one state of each near episode that looks most like it (ours).

Random goals of the whole dataset are the paper's goal chaining. Where next to none of them can be reached from a state, they
all teach Q = 0, and what value flows in where two episodes meet is lost on its way back. Goals that another episode reached
*from a state like this one* are goals that can be reached: Ghugare et al. (2024, arXiv:2401.11237) draw such goals for
supervised learning. The critic's targets bootstrap as for any other goal, and with ``monte_carlo_bound`` they are at least
discount^(steps of both pieces): a value that the data achieved if the two states are alike enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from am_ray.arrays import Float

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Links:
    """For each of r rows, the n other episodes that come nearest to it, the nearest first: of each, its nearest row.

    Attributes:
        row: ``(r, n)``: none is an episode's last one, so something was done there.
        is_near: ``(r, n)`` bool: within the distance that was asked for.
    """

    row: Rows
    is_near: NDArray[np.bool_]


def find_links(
    states: Float[np.ndarray, "r d"],
    first_row: Rows,
    num_transitions: Rows,
    *,
    window: int,
    num: int,
    max_distance: float,
    entries: Sequence[int] = (),
) -> Links:
    """Looks for them.

    Args:
        states: ``(r, d)``.
        first_row: Row of each episode's first state, ``(e,)``; episodes lie end to end in rising order.
        num_transitions: T of each episode, ``(e,)``, each at least 1.
        window: Episodes before and after that are looked at, at least 1.
        num: n. Where there are fewer episodes the nearest ones are listed again, as not near: near rows come first, each once.
        max_distance: What counts as near.
        entries: Where given, distances are Euclidean over these entries of the state, in their own units, such as metres. Else
            they are root mean squares over all that vary, each in units of its standard deviation.
    """
    points = states[:, list(entries)].astype(np.float64) if entries else _standardised(states)
    squares = np.sum(points**2, axis=1)
    last_row = first_row + num_transitions
    links = Links(np.zeros((len(states), num), np.int64), np.zeros((len(states), num), np.bool_))
    for episode, (first, last) in enumerate(zip(first_row, last_row, strict=True)):
        own = slice(first, last + 1)
        begin, end = max(episode - window, 0), min(episode + window + 1, len(first_row))
        others = [other for other in range(begin, end) if other != episode]
        if not others:
            continue
        low, high = first_row[begin], last_row[end - 1]
        square = squares[own, None] + squares[low:high] - 2.0 * points[own] @ points[low:high].T
        row = np.empty((len(square), len(others)), np.int64)
        for column, other in enumerate(others):
            row[:, column] = first_row[other] + square[:, first_row[other] - low : last_row[other] - low].argmin(axis=1)
        nearest_square = np.take_along_axis(square, row - low, axis=1)
        order = np.argsort(nearest_square, axis=1, kind="stable")[:, np.arange(num) % len(others)]
        links.row[own] = np.take_along_axis(row, order, axis=1)
        is_near = np.take_along_axis(nearest_square, order, axis=1) <= max_distance**2
        links.is_near[own] = is_near & (np.arange(num) < len(others))
    return links


def _standardised(states: np.ndarray) -> np.ndarray:
    """Entries in units such that the square of a distance is the mean over the entries that vary."""
    values = states.astype(np.float64)
    std = values.std(axis=0)
    varies = std > 1e-4 * np.abs(values).max(axis=0, initial=0.0)
    scaled: np.ndarray = (values - values.mean(axis=0))[:, varies] / (std[varies] * np.sqrt(max(varies.sum(), 1)))
    return scaled
