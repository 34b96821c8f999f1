"""Student's t distribution, for any positive number of degrees of freedom."""

from __future__ import annotations

import math

import numpy as np

# Beyond, the distribution is the normal one to six digits, and the integrand below too narrow for the nodes.
_LARGEST_DF = 1e5
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def two_sided_p(t: float, df: float) -> float:
    """The probability of a value at least as far from 0 as ``t``.

    With ``t = sqrt(df) tan(angle)`` the density becomes a power of the cosine::

        P(|T| >= t) = int_{atan(t / sqrt(df))}^{pi / 2} cos^(df - 1)  /  int_0^{pi / 2} cos^(df - 1)

    Args:
        t: Any value; infinity gives 0.
        df: Degrees of freedom, above 0.
    """
    df = min(df, _LARGEST_DF)
    start = math.atan(abs(t) / math.sqrt(df))
    return min(1.0, _cosine_power(start, df - 1) / _cosine_power(0.0, df - 1))


def critical_value(df: float, *, confidence: float = 0.95) -> float:
    """The ``t`` that a share ``confidence`` of all values stays below in size; by bisection."""
    low, high = 0.0, 1e4
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided_p(middle, df) > 1 - confidence else (low, middle)
    return high


def _cosine_power(start: float, power: float) -> float:
    """The integral of ``cos^power`` from ``start`` to a quarter turn."""
    # Where the power is large, all of the mass lies near 0: a few hundred nodes must not be spread over the rest.
    stop = min(math.pi / 2, start + 16 / math.sqrt(power + 1)) if power > 0 else math.pi / 2
    angles = start + (stop - start) * (_NODES + 1) / 2
    return float(np.sum(_WEIGHTS * np.cos(angles) ** power) * (stop - start) / 2)
