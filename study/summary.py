"""What the tables of several data sets say of one question, side by side: rows of docs/results/, compared once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from am_ray.comparison.resampling import holm
from study.outcomes import difference, published_cells, read_json
from study.texts import difference_text, task_title


@dataclass(frozen=True)
class Contrast:
    """A line: the rows ``one`` and ``other`` of a table, told as ``label``."""

    label: str
    table: str
    one: str
    other: str


OURS, CLONING = "Actionable Models", "behaviour cloning (GCBC)"
LINKED = f"{OURS}, linked goals"
STAYING = "staying at goals, nearly there is there"
WITHOUT_Q = "acting by the cloning head, without Q"
SUMMARIES: Mapping[str, tuple[Contrast, ...]] = {
    "over_cloning": (
        Contrast("whole tasks, near an expert's (tray_play)", "tray_play_10k", OURS, CLONING),
        Contrast("the same, both shown how to stay at goals", "tray_play_10k", STAYING, f"{CLONING}, staying at goals"),
        Contrast("far from an expert's (tray_clumsy), far negatives", "tray_clumsy", "far negatives alone", CLONING),
        Contrast("uncut play (tray_uncut)", "tray_uncut", OURS, CLONING),
        Contrast(
            "the same, cloning with 2.5 times the updates", "tray_uncut", OURS, f"{CLONING}, 2.5 times the updates"
        ),
        Contrast("pieces to be joined (tray_stitch)", "tray_stitch", LINKED, f"{CLONING}, linked goals"),
        Contrast(
            "the same, cloning with 1.75 times the updates",
            "tray_stitch",
            LINKED,
            f"{CLONING}, linked goals, 35,000 updates",
        ),
        Contrast(
            "the same, twice the episodes, 1.5 times the updates", "tray_stitch_20k", LINKED, f"{CLONING}, linked goals"
        ),
        Contrast("images; neither draws its gripper", "tray_play_images", OURS, CLONING),
    ),
    "over_own_head": (
        Contrast("whole tasks, near an expert's (tray_play)", "tray_play_10k", OURS, WITHOUT_Q),
        Contrast("the same, shown how to stay at goals", "tray_play_10k", STAYING, "staying at goals, without Q"),
        Contrast(
            "far from an expert's (tray_clumsy), far negatives",
            "tray_clumsy",
            "far negatives alone",
            "far negatives alone, without Q",
        ),
        Contrast("uncut play (tray_uncut)", "tray_uncut", OURS, WITHOUT_Q),
        Contrast("pieces to be joined (tray_stitch)", "tray_stitch", LINKED, WITHOUT_Q),
    ),
}


def summary_lines(contrasts: tuple[Contrast, ...], results: Path) -> list[str]:
    """The table; nothing if none of its rows is published.

    Bold: the interval leaves 0 out. A star: after Holm's correction over the line's tasks, too.
    """
    lines: list[str] = []
    for contrast in contrasts:
        cells = published_cells(read_json(results / f"{contrast.table}.json"))
        one, other = cells.get(contrast.one), cells.get(contrast.other)
        if one is None or other is None:
            continue
        found = {task: difference(one, other, task) for task in one.outcomes}
        if not lines:
            lines = [f"| | {' | '.join(map(task_title, found))} | seeds |", "|---" * (len(found) + 2) + "|"]
        adjusted = holm([estimate.p for estimate in found.values()])
        shown = [
            _marked(difference_text(estimate.mean, estimate.interval), estimate.p, p)
            for estimate, p in zip(found.values(), adjusted, strict=True)
            if estimate.mean is not None
        ]
        seeds = len(set(one.seeds) & set(other.seeds))
        lines.append(f"| {contrast.label} | {' | '.join(shown)} | {seeds} |")
    return lines


def _marked(text: str, p: float | None, adjusted: float | None) -> str:
    star = "\\*" if adjusted is not None and adjusted < 0.05 else ""
    return f"**{text}**{star}" if p is not None and p < 0.05 else text
