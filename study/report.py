"""Tables and figures of what has been run: docs/results/ and the marked places of docs/RESULTS.md.

A row that was not run here stays as docs/results/ has it, so that a study can be run in pieces, on several machines.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from study.conditions import CONDITIONS
from study.curves import curves_markdown, curves_of
from study.downstream import AUXILIARY_TABLE, DOWNSTREAM_TABLE, TASKS, downstream_lines, read_comparisons
from study.figures import ablation_figure, curves_figure, downstream_figure
from study.outcomes import Cell, difference, published_cells, read_json
from study.plan import PICTURES
from study.tables import TABLES, Table
from study.texts import difference_text, rate_text, task_title

RESULTS = Path("docs/results")
PAGE = Path("docs/RESULTS.md")

# Tables of evaluations of one checkpoint each: name -> label of a line -> what `am-ray evaluate --json` wrote.
EVALUATIONS: Mapping[str, Mapping[str, str]] = {
    c.table: {condition.label: c.file(condition) for condition in c.conditions} for c in CONDITIONS
}


def write_report(runs: Path, *, results: Path = RESULTS, page: Path = PAGE) -> list[Path]:
    """Writes what can be said of the sweeps in ``runs``, and copies the pictures there; tables without a finished trial stay as they are.

    Returns:
        The files written.
    """
    results.mkdir(parents=True, exist_ok=True)
    written = []
    for table in TABLES:
        found = {row.label: row.cell(runs) for row in table.rows}
        if not any(found.values()):
            continue
        data = results / f"{table.name}.json"
        cells, sources = _cells(table, found, runs, read_json(data))
        data.write_text(json.dumps(_to_json(table, cells, sources), indent=1) + "\n", encoding="utf-8")
        picture = results / f"{table.name}.png"
        if table.has_curves:
            curves_figure(curves_of(cells), picture)
        else:
            ablation_figure(cells, picture)
        written += [data, picture]
        if page.exists():
            shown = curves_markdown(cells) if table.has_curves else markdown(cells, table.pairs)
            page.write_text(_placed(page.read_text(encoding="utf-8"), table.name, shown), encoding="utf-8")
    for name, files in EVALUATIONS.items():
        lines = _evaluation_lines(name, {label: runs / file for label, file in files.items()}, results)
        if not lines:
            continue
        written.append(results / f"{name}.json")
        if page.exists():
            text = _placed(page.read_text(encoding="utf-8"), name, "\n".join(lines))
            page.write_text(text, encoding="utf-8")
    for name in (DOWNSTREAM_TABLE, AUXILIARY_TABLE):
        found_tasks = read_comparisons(runs, name)
        if not found_tasks:
            continue
        data = results / f"{name}.json"
        known = read_json(data) | found_tasks
        comparisons = {task: known[task] for task in TASKS if task in known}
        data.write_text(json.dumps(comparisons, indent=1) + "\n", encoding="utf-8")
        written.append(data)
        if name == DOWNSTREAM_TABLE:  # the other one is of a single number of episodes
            written.append(results / f"{name}.png")
            downstream_figure(comparisons, written[-1])
        if page.exists():
            text = _placed(page.read_text(encoding="utf-8"), name, "\n".join(downstream_lines(comparisons)))
            page.write_text(text, encoding="utf-8")
    written += [Path(shutil.copy(path, results)) for path in sorted((runs / PICTURES).glob("*"))]
    return [*written, page] if written and page.exists() else written


def markdown(cells: Mapping[str, Cell], pairs: Sequence[tuple[str, str]] = ()) -> str:
    """The table: per cent with 95 % intervals, then paired differences: of the first row to the others, and of ``pairs`` where both are there."""
    first, *others = cells
    compared = [(first, other) for other in others] + [pair for pair in pairs if set(pair) <= set(cells)]
    tasks = list(cells[first].outcomes)
    lines = [
        "| | " + " | ".join(task_title(task) for task in tasks) + " | seeds | goals | updates | training |",
        "|---" * (len(tasks) + 5) + "|",
    ]
    for label, found in cells.items():
        rates = [rate_text(found.rate(task), found.interval(task)) for task in tasks]
        goals = max(len(starts) for starts in found.starts.values())
        lines.append(
            f"| {label} | {' | '.join(rates)} | {len(found.seeds)} | {goals} | {found.updates:,} | {found.minutes:.1f} min |"
        )
    for one, other in compared:
        estimates = [difference(cells[one], cells[other], task) for task in tasks]
        shown = ["" if d.mean is None else difference_text(d.mean, d.interval) for d in estimates]
        lines.append(f"| *{one} - {other[0].lower() + other[1:]}* | {' | '.join(shown)} | | | | |")
    return "\n".join(lines)


def _evaluation_lines(name: str, files: Mapping[str, Path], results: Path) -> list[str]:
    """The table's lines, and its numbers as one file beside the others; nothing if none was evaluated."""
    if not any(path.exists() for path in files.values()):
        return []
    published = read_json(results / f"{name}.json")
    found = {
        label: read_json(path) or published[label]
        for label, path in files.items()
        if path.exists() or label in published
    }
    (results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    tasks = list(next(iter(found.values()))["tasks"])
    lines = [f"| | {' | '.join(task.replace('_', ' ') for task in tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    for label, content in found.items():
        rates = [
            rate_text(content["tasks"][task]["success_rate"], content["tasks"][task]["interval"]) for task in tasks
        ]
        lines.append(f"| {label} | {' | '.join(rates)} |")
    return lines


def _cells(
    table: Table, found: Mapping[str, Cell | None], runs: Path, published: Mapping[str, Any]
) -> tuple[dict[str, Cell], dict[str, Any]]:
    """Of each row what has more training seeds, what was run or what was published; and where the rows' sweeps come from."""
    before, sources = published_cells(published), dict(published.get("sweeps", {}))
    cells = {}
    for row in table.rows:
        run, known = found[row.label], before.get(row.label)
        if run is not None and (known is None or len(run.seeds) >= len(known.seeds)):
            cells[row.label] = run
            sources[row.key] = row.source(runs)
        elif known is not None:
            cells[row.label] = known
    shown = {row.key for row in table.rows if row.label in cells}
    return cells, {key: source for key, source in sources.items() if key in shown}


def _to_json(table: Table, cells: Mapping[str, Cell], sources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "table": table.name,
        "sweeps": sources,
        "rows": {label: _cell_json(found) for label, found in cells.items()},
    }


def _cell_json(found: Cell) -> dict[str, Any]:
    return {
        "seeds": list(found.seeds),
        "updates": found.updates,
        "minutes": round(found.minutes, 2),
        "tasks": {
            task: {
                "success_rate": round(found.rate(task), 4),
                "interval": [round(bound, 4) for bound in found.interval(task)],
                "n": int(matrix.shape[1]),
                # One character for each start, in order: 1 success, 0 none, - lost to the infrastructure.
                "episodes": ["".join("-" if x != x else str(int(x)) for x in row) for row in matrix],
            }
            for task, matrix in found.outcomes.items()
        },
    }


def _placed(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- table {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text)
