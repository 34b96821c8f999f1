"""How a rate and a difference are written in a table: per cent or points, and a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence


def rate_text(rate: float, interval: Sequence[float]) -> str:
    """``96 [94, 98]``."""
    return f"{100 * rate:.0f} [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def difference_text(mean: float, interval: Sequence[float]) -> str:
    """``+11 [+4, +17]``."""
    return f"{100 * mean:+.0f} [{100 * interval[0]:+.0f}, {100 * interval[1]:+.0f}]"


def task_title(task: str) -> str:
    """``container placing``; the one task of a world that names none is ``success``."""
    return "success" if task == "default" else task.replace("_", " ")
