"""Tables and figures of what has been run: docs/results/ and the marked places of docs/RESULTS.md.

A row that was not run here stays as docs/results/ has it, so that a study can be run in pieces, on several machines.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.conditions import CONDITIONS
from study.curves import CurveRow, curves_markdown, curves_of
from study.downstream import DOWNSTREAM_TABLE, DOWNSTREAM_TABLES, TASKS, downstream_lines, read_comparisons
from study.figures import ablation_figure, curves_figure, downstream_figure
from study.images import ImageRow
from study.outcomes import Cell, difference, published_cells, read_json
from study.plan import BASELINES, PICTURES
from study.summary import SUMMARIES, summary_lines
from study.sweeps import SweepRow
from study.tables import TABLES, Table
from study.texts import difference_text, rate_text, task_title

RESULTS = Path("docs/results")
PAGE = Path("docs/RESULTS.md")
README = Path("README.md")

# Tables of evaluations of one checkpoint each: name -> label of a line -> what `am-ray evaluate --json` wrote, and whose rates of it.
EVALUATIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    **{c.table: {condition.label: (c.file(condition), "tasks") for condition in c.conditions} for c in CONDITIONS},
    **{
        f"{world}_baselines": {"random actions": (file, "random"), "scripted oracle": (file, "oracle")}
        for world, file in BASELINES.items()
    },
}


def write_report(runs: Path, *, results: Path = RESULTS, pages: Sequence[Path] = (PAGE, README)) -> list[Path]:
    """Writes what can be said of the sweeps in ``runs``, and copies the pictures there; what was not run there stays as ``results`` has it.

    Returns:
        The files written.
    """
    results.mkdir(parents=True, exist_ok=True)
    shown: dict[str, str] = {}
    written = [*_tables(runs, results, shown), *_evaluations(runs, results, shown), *_downstream(runs, results, shown)]
    summaries = {name: summary_lines(contrasts, results) for name, contrasts in SUMMARIES.items()}
    shown |= {name: "\n".join(lines) for name, lines in summaries.items() if lines}
    written += [Path(shutil.copy(path, results)) for path in sorted((runs / PICTURES).glob("*"))]
    for page in pages:
        if page.exists() and shown:
            page.write_text(placed(page.read_text(encoding="utf-8"), shown), encoding="utf-8")
            written.append(page)
    return written


def _tables(runs: Path, results: Path, shown: dict[str, str]) -> list[Path]:
    """Adds the text of the tables over training seeds to ``shown``, and writes the data and figures of those that were run."""
    written = []
    for table in TABLES:
        found = {row.label: row.cell(runs) for row in table.rows}
        data, picture = results / f"{table.name}.json", results / f"{table.name}.png"
        cells, sources = _cells(table, found, runs, read_json(data))
        if not cells:
            continue
        shown[table.name] = curves_markdown(cells) if table.has_curves else markdown(cells, table.pairs)
        if any(found.values()):
            data.write_text(json.dumps(_to_json(table, cells, sources), indent=1) + "\n", encoding="utf-8")
            written.append(data)
            if table.has_curves:
                curves_figure(curves_of(cells), picture)
            elif len(cells) > 1:
                ablation_figure(cells, picture)
            else:  # a single row has nothing to be seen beside
                continue
            written.append(picture)
    return written


def _evaluations(runs: Path, results: Path, shown: dict[str, str]) -> list[Path]:
    """The same of evaluations of one checkpoint each."""
    written = []
    for name, files in EVALUATIONS.items():
        data = results / f"{name}.json"
        published = read_json(data)
        found = {label: _rates(read_json(runs / file), policy) for label, (file, policy) in files.items()}
        actings = {content.get("acting") for content in found.values() if content}
        # Lines of policies that act in another way do not belong beside those that were run.
        kept = {label: old for label, old in published.items() if not actings or old.get("acting") in actings}
        known = {label: found[label] or kept.get(label) for label in files}
        told = {label: content for label, content in known.items() if content}
        if told:
            shown[name] = "\n".join(_evaluation_lines(told))
        if any(found.values()):
            data.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            written.append(data)
    return written


def _rates(evaluation: dict[str, Any], policy: str) -> dict[str, Any]:
    """What an evaluation says of one of its policies, in the place of the checkpoint; nothing if it had not that one."""
    if not evaluation.get(policy):
        return {}
    left_out = {"tasks", "random", "oracle"}
    if policy != "tasks":
        left_out |= {"checkpoint", "acting", "failures"}
    return {"tasks": evaluation[policy]} | {name: value for name, value in evaluation.items() if name not in left_out}


def _downstream(runs: Path, results: Path, shown: dict[str, str]) -> list[Path]:
    """The same of fine-tuning."""
    written = []
    for name in DOWNSTREAM_TABLES:
        found = read_comparisons(runs, name)
        data = results / f"{name}.json"
        known = read_json(data) | found
        comparisons = {task: known[task] for task in TASKS if task in known}
        if comparisons:
            shown[name] = "\n".join(downstream_lines(comparisons))
        if found:
            data.write_text(json.dumps(comparisons, indent=1) + "\n", encoding="utf-8")
            written.append(data)
        if found and name == DOWNSTREAM_TABLE:  # the others are of a single number of episodes
            written.append(results / f"{name}.png")
            downstream_figure(comparisons, written[-1])
    return written


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


def _evaluation_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each evaluation, by its label."""
    tasks = list(next(iter(found.values()))["tasks"])
    lines = [f"| | {' | '.join(map(task_title, tasks))} |", "|---" * (len(tasks) + 1) + "|"]
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
    for (
        row
    ) in table.rows:  # how long networks trained does not depend on how they act, nor on which seeds of them were asked
        trained = cells.get(_trained(row, table))
        if row.label in cells and trained is not None:
            cells[row.label] = replace(cells[row.label], minutes=trained.minutes)
    shown = {row.key for row in table.rows if row.label in cells}
    return cells, {key: source for key, source in sources.items() if key in shown}


def _trained(row: SweepRow | ImageRow | CurveRow, table: Table) -> str:
    """The label of the row that shows the same networks acting as they were trained to; its own if there is none."""
    if isinstance(row, SweepRow) and row.acting is not None:
        same = [
            one.label
            for one in table.rows
            if isinstance(one, SweepRow) and (one.sweep, one.acting) == (row.sweep, None)
        ]
        return same[0] if same else row.label
    return row.label


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
        "minutes": found.minutes,
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


def placed(text: str, shown: Mapping[str, str]) -> str:
    """A page with tables, by name, between their markers; those without markers there are left out."""
    for name, table in shown.items():
        text = _between(text, f"<!-- table {name} -->", f"<!-- end {name} -->", table)
    return text


def _between(text: str, begin: str, end: str, block: str) -> str:
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", text)
