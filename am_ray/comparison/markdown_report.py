"""The report as Markdown, beside its figures."""

from __future__ import annotations

from am_ray.comparison import prose
from am_ray.comparison.analysis import Comparison
from am_ray.comparison.tables import TextTable, text_tables


def markdown_report(comparison: Comparison) -> str:
    """The text of ``report.md``; figures are named relative to it."""
    rates, curves, differences, budgets = text_tables(comparison)
    pretraining = prose.pretraining_lines(comparison)
    parts = [
        f"# {prose.title(comparison)}",
        ". ".join(prose.facts(comparison)) + ".",
        _list(comparison.conclusions),
        *(["## What limits this", _list(comparison.notes)] if comparison.notes else []),
        "## Success rates",
        f"![{prose.curves_alt(comparison)}]({prose.CURVES_FIGURE})",
        _table(rates),
        _table(curves),
        "## Paired differences",
        f"![{prose.differences_alt(comparison)}]({prose.DIFFERENCES_FIGURE})",
        _table(differences),
        "## Equal budgets",
        _table(budgets),
        *(["Started from a checkpoint, whose cost is not counted:", _list(pretraining)] if pretraining else []),
        "## How to read this",
        *prose.HOW_TO_READ,
    ]
    return "\n\n".join(parts) + "\n"


def _list(sentences: tuple[str, ...] | list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _table(table: TextTable) -> str:
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    rows = ["| " + " | ".join(value.replace("|", "\\|") for value in line) + " |" for line in lines]
    return "\n".join(rows) + f"\n\n{table.caption}"
