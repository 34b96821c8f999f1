"""Confidence intervals of success rates."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson_interval(successes: int, n: int, *, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a success rate (Wilson 1927; Brown, Cai and DasGupta 2001).

    Unlike the textbook interval it stays inside [0, 1] and keeps its coverage at 0 and n successes::

        centre = (p + z^2 / 2n) / (1 + z^2 / n)
        half   = z / (1 + z^2 / n) * sqrt(p (1 - p) / n + z^2 / 4 n^2)

    Args:
        successes: Between 0 and ``n``, both included.
        n: Episodes; with none the interval is [0, 1].
        z: Quantile; the default gives 95 %.

    Raises:
        ValueError: ``successes`` outside [0, n].
    """
    if not 0 <= successes <= n:
        raise ValueError(f"got {successes} successes of {n} episodes; expected 0 <= successes <= n")
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    shrink = 1.0 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
