"""How a rate and a difference are written in a table: per cent or points, and a 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence


def rate_text(rate: float, interval: Sequence[float]) -> str:
    """``96 [94, 98]``."""
    return f"{100 * rate:.0f} [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def difference_text(mean: float, interval: Sequence[float]) -> str:
    """``+11 [+4, +17]``; an end that is next to 0 keeps its side: ``+7 [+0.03, +14]``."""
    return f"{_points(mean)} [{_end(interval[0])}, {_end(interval[1])}]"


def _points(share: float) -> str:
    return f"{round(100 * share):+d}" if round(100 * share) else "0"


def _end(share: float) -> str:
    """To the first digit that is not 0, hundredths at the most."""
    for digits in (1, 2):
        if not round(100 * share):
            text = f"{100 * share:+.{digits}f}"
            if float(text):
                return text
    return _points(share)


def task_title(task: str) -> str:
    """``container placing``; the one task of a world that names none is ``success``."""
    return "success" if task == "default" else task.replace("_", " ")
