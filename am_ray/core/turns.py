"""Where a direction turns to, from few examples: along another direction of the state, up to a symmetry. Ours.

A gripper closes across a box from either side: its yaw becomes that of the box or half a turn more, whichever is nearer. No affine map of
sines and cosines says that, and a goal without it asks for a grasp that cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from am_ray.arrays import Float

# Symmetries that are looked for: none, half a turn (a box), quarter turns (a square).
_FOLDS = (1, 2, 4)
# Two neighbouring entries are a direction if the sum of their squares is so near to 1 on average.
_UNIT_TOLERANCE = 0.05
# Nothing turns along a direction that is the same, up to the symmetry, in all examples: R, see below.
_SAME_WAY = 0.95
# Of n R^2, R the mean resultant length, beyond the logarithm of the number of candidates: angles that differ by chance give more than c with probability exp(-c),
# so that one direction in exp(1) turns by chance at most. With the other conditions made-up ones of 4 to 12 examples do in one case of four, a hand along objects
# that it does not go to in 3 of 492 (docs/experiments_log.md).
_SURPRISE = 1.0
# The rule leaves less than this share of the mean square of the turn; a turn is at least so large.
_UNEXPLAINED = 0.5
_LEAST_TURN_RAD = 0.1
# A thing comes to another one if an entry of it takes more than this share of a value there; fits to many examples spread the rest over other entries.
_COMES_TO = 0.5


@dataclass(frozen=True)
class Turn:
    """angle of y = (-1 if mirrored) angle of x + offset + the multiple of a turn / fold that brings it nearest to where it was.

    Attributes:
        entry: The first of the two entries of y, (cos, sin) of its angle.
        source: The first of the two entries of x.
        mirrored: Whether they turn in opposite senses (as entries in the order (sin, cos) do).
        fold: Of the symmetry.
        offset_rad: Between the two.
    """

    entry: int
    source: int
    mirrored: bool
    fold: int
    offset_rad: float


def find_turns(
    x: Float[np.ndarray, "n s"], y: Float[np.ndarray, "n g"], own: np.ndarray, allowed: np.ndarray | None = None
) -> list[Turn]:
    """The directions among the entries of y that turn along one of x.

    Of all sources, senses and symmetries the one with the largest mean resultant length R of fold * (difference of angles) is taken, if

    - n R^2 is above 1 + log(number of candidates) (Rayleigh's test against differences by chance): the fewer sources are possible, the fewer examples do;
    - R is above that of fold * (angle of y) alone: one direction for all would not do as well;
    - the rule leaves less than half of the mean squared turn.

    Rows that follow one another with the same y are states of one trajectory, of which the first counts.

    Args:
        x: Inputs in the data's units; n at least 1.
        y: What they become, each entry in units of its own entry of x.
        own: The entry of x that each entry of y is, ``(g,)``.
        allowed: Which entries of x may be a source of each entry of y, ``(g, s)`` bool; all by default.
    """
    starts = np.flatnonzero(np.append(True, (np.diff(y, axis=0) != 0.0).any(axis=1)))
    x, y = x[starts].astype(np.float64), y[starts].astype(np.float64)
    directions = {j: np.arctan2(x[:, j + 1], x[:, j]) for j in _directions(x)}
    turns: list[Turn] = []
    for entry in _directions(y):
        first = int(own[entry])
        follows = own[entry + 1] == first + 1 and first in directions
        if not follows or (turns and turns[-1].entry == entry - 1):
            continue
        becomes = np.arctan2(y[:, entry + 1], y[:, entry])
        turned = _mean_square(becomes - directions[first])
        candidates = [
            _candidate(entry, source, mirrored, fold, becomes - (-angle if mirrored else angle))
            for source, angle in directions.items()
            if source != first and (allowed is None or allowed[entry, source])
            for mirrored in (False, True)
            for fold in _FOLDS
            if _along(fold, angle)[0] < _SAME_WAY
        ]
        if not candidates or turned < _LEAST_TURN_RAD**2:
            continue
        length, left, turn = max(candidates, key=lambda candidate: candidate[0])
        explains = left < _UNEXPLAINED * turned
        beats_constant = length > _along(turn.fold, becomes)[0]
        if explains and beats_constant and len(starts) * length**2 > _SURPRISE + math.log(len(candidates)):
            turns.append(turn)
    return turns


def possible_sources(thing: np.ndarray, own: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Which entries of x each entry of y may turn along, ``(g, s)`` bool: those of the things that its own thing comes to.

    A hand turns along what it goes to. The fewer the sources, the fewer examples tell one from chance.

    Args:
        thing: What each entry of x is of, ``(s,)`` int. What no slots tell apart (the tray's hand and container) is one thing, which nothing in it turns along.
        own: The entry of x that each entry of y is, ``(g,)``.
        slopes: Of the entries of y over those of x, in the data's units, ``(g, s)``; they mean something between entries of one unit.
    """
    takes = (slopes > _COMES_TO) & (thing[own][:, None] != thing)
    return np.stack([np.isin(thing, thing[takes[thing[own] == of].any(axis=0)]) for of in thing[own]])


def _candidate(entry: int, source: int, mirrored: bool, fold: int, difference: np.ndarray) -> tuple[float, float, Turn]:
    """R, the mean squared angle that is left, and the rule."""
    length, left, offset = _along(fold, difference)
    return length, left, Turn(entry, source, mirrored, fold, offset)


def _along(fold: int, angle: np.ndarray) -> tuple[float, float, float]:
    """The mean resultant length of angles up to a symmetry, their mean square around their mean, and this."""
    resultant = np.exp(1j * fold * angle).mean()
    mean = float(np.angle(resultant)) / fold
    return float(abs(resultant)), _mean_square(fold * (angle - mean)) / fold**2, mean


def _directions(x: np.ndarray) -> Iterator[int]:
    """First entries of the pairs that lie on the unit circle."""
    squares = x**2
    for j in range(x.shape[1] - 1):
        if np.abs(squares[:, j] + squares[:, j + 1] - 1.0).mean() < _UNIT_TOLERANCE:
            yield j


def _mean_square(angle: np.ndarray) -> float:
    wrapped = (angle + np.pi) % (2.0 * np.pi) - np.pi
    return float((wrapped**2).mean())
