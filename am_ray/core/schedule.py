"""How the learning rate falls towards the end of training (half a cosine; Loshchilov and Hutter 2017, without restarts)."""

from __future__ import annotations

import math


def decayed_rate(rate: float, *, update: int, updates: int | None, decay_share: float) -> float:
    """The learning rate of an update: constant, then half a cosine that reaches 0 after the last one.

    Args:
        rate: At the beginning.
        update: Number of the update, counted from 0.
        updates: Of the whole training; ``None``: unknown, so the rate stays.
        decay_share: Share of them, at the end, over which it falls, in [0, 1]; 0: it stays.
    """
    if not updates or not decay_share:
        return rate
    progress = (update / updates - (1.0 - decay_share)) / decay_share
    return rate * 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
