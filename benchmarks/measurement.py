"""Repeated measurements: a median with its spread, and ratios whose two sides are timed in turn.

Machines are noisy and their pace drifts: what is compared runs alternately in one process, and only the ratio of neighbours counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measurement:
    """The median of ``repeats`` figures, the smallest and the largest of them, and what a reader should know."""

    value: float
    low: float
    high: float
    repeats: int
    note: str = ""


def median_of(figures: Sequence[float], note: str = "") -> Measurement:
    return Measurement(statistics.median(figures), min(figures), max(figures), len(figures), note)


def paired_ratio(
    ours: Callable[[], float], theirs: Callable[[], float], *, pairs: int, unit: str = "/s"
) -> Measurement:
    """The median of ``ours() / theirs()``; both return a rate, each has a run beforehand that does not count.

    Args:
        ours: Runs once and returns its rate.
        theirs: Likewise, the comparison.
        pairs: Neighbouring runs to take the ratio of; which of the two goes first alternates.
        unit: Of the rates, for the note.
    """
    ours(), theirs()
    rates = []
    for number in range(pairs):
        if number % 2:
            second = theirs()
            rates.append((ours(), second))
        else:
            rates.append((ours(), theirs()))
    mine, other = (statistics.median(column) for column in zip(*rates, strict=True))
    return median_of([a / b for a, b in rates], f"{mine:,.1f}{unit} over {other:,.1f}{unit}")


def main(measure: Callable[[bool], dict[str, Measurement]], description: str | None) -> None:
    """The command line of one benchmark: prints its figures, and writes them where ``make bench`` collects them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the figures as JSON")
    args = parser.parse_args()
    found = measure(args.quick)
    for key, figure in found.items():
        print(f"{key} {figure.value:,.4g} [{figure.low:,.4g}, {figure.high:,.4g}] of {figure.repeats}; {figure.note}")
    if args.out is not None:
        args.out.write_text(json.dumps({key: asdict(figure) for key, figure in found.items()}))
