"""What `am-ray finetune` found of each downstream task, as tables of docs/RESULTS.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.texts import difference_text, rate_text

# Table -> its config in ``tune_configs/study/``, and what is changed of that; a study for each task.
DOWNSTREAM_TABLE = "downstream"
FEW_TABLE = "downstream_few"
AUXILIARY_TABLE = "downstream_auxiliary"
DOWNSTREAM_TABLES: Mapping[str, tuple[str, ...]] = {
    DOWNSTREAM_TABLE: (DOWNSTREAM_TABLE,),
    FEW_TABLE: (DOWNSTREAM_TABLE, "finetune.episodes=[10]"),
    AUXILIARY_TABLE: (AUXILIARY_TABLE,),
}
TASKS = ("box", "banana", "milk")


def study_name(table: str, task: str) -> str:
    """Of the study, and of its folder in that of the runs."""
    return f"{table}_{task}"


def read_comparisons(runs: Path, table: str) -> dict[str, dict[str, Any]]:
    """Of the tasks whose study has been compared, the content of its ``comparison.json``."""
    paths = {task: runs / study_name(table, task) / "comparison" / "comparison.json" for task in TASKS}
    return {task: json.loads(path.read_text(encoding="utf-8")) for task, path in paths.items() if path.exists()}


def downstream_lines(comparisons: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each task and number of labelled episodes; an arm that has no cell there is a gap."""
    rows = [row for comparison in comparisons.values() for row in comparison["success"] if row["rate"] is not None]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    others = [arm for arm in arms if arm != "scratch"]
    columns = ["task", "labelled episodes", "seeds", *arms, *[f"*{arm} - scratch*" for arm in others]]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for task, comparison in comparisons.items():
        found = {(row["arm"], row["episodes"]): row for row in comparison["success"] if row["rate"] is not None}
        pairs = {(row["arm"], row["episodes"]): row["method"] for row in comparison["differences"]}
        for episodes in sorted({episodes for _, episodes in found}):
            here = [found.get((arm, episodes)) for arm in arms]
            seeds = max(row["seeds"] for row in here if row)
            rates = ["" if row is None else rate_text(row["rate"], row["interval"]) for row in here]
            differences = [_difference(pairs.get((arm, episodes))) for arm in others]
            lines.append(f"| {' | '.join([f'grasp {task}', str(episodes), str(seeds), *rates, *differences])} |")
    return lines


def _difference(estimate: Mapping[str, Any] | None) -> str:
    if estimate is None or estimate["mean"] is None:
        return ""
    return difference_text(estimate["mean"], estimate["interval"])
