"""Whether what was run comes out as it was published, episode by episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from study.outcomes import Cell, published_cells, read_json
from study.tables import TABLES


def reproduction_lines(runs: Path, results: Path) -> list[str]:
    """A line for each row that was run in ``runs`` and is published in ``results``; before the latter is written anew.

    Of the training seeds and starts that both have. On another kind of machine, whose arithmetic differs in the last bits, episodes
    may end differently though nothing is wrong.
    """
    lines = []
    for table in TABLES:
        published = published_cells(read_json(results / f"{table.name}.json"))
        for row in table.rows:
            run, known = row.cell(runs), published.get(row.label)
            if run is None or known is None:
                continue
            differing, number = _differing(run, known)
            if number:
                verdict = (
                    f"{differing:,} of {number:,} episodes end differently than"
                    if differing
                    else f"{number:,} episodes end as"
                )
                lines.append(f"{table.name}, {row.label}: {verdict} published")
    return lines


def _differing(run: Cell, known: Cell) -> tuple[int, int]:
    """Episodes that end differently, of how many that both have."""
    differing = number = 0
    for seed in set(run.seeds) & set(known.seeds):
        for task, starts in run.starts.items():
            if known.starts.get(task) == starts:
                here, there = (one.outcomes[task][one.seeds.index(seed)] for one in (run, known))
                differing += int(np.sum(~np.isclose(here, there, equal_nan=True)))
                number += len(starts)
    return differing, number
