"""Sentences that the HTML and the Markdown report share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from am_ray.comparison.analysis import Comparison
from am_ray.comparison.study import size_text

CURVES_FIGURE, DIFFERENCES_FIGURE = "comparison.png", "difference.png"
HOW_TO_READ = (
    "A success rate is a mean over training seeds, each tried on the same starts. Its interval says where the rate of the "
    "method lies: with other seeds, on other starts of the same kind. With one seed it tells of that one policy.",
    "A difference is paired: same seed, same start, same labelled episodes. The claim about the method takes seeds and starts as "
    "random; the claim about these policies takes the trained policies as they are. The second is narrower, and says "
    "nothing about training once more.",
    "“Difference not established” means that the method's 95 % interval covers 0, or that p is not below 0.05 after Holm's "
    "correction. It does not mean that there is no difference: the interval says how large one might be.",
    "The exact p over seeds assumes nothing, and cannot fall below 2 / 2^seeds: 0.25 with 3 seeds, 0.06 with 5, 0.03 with 6. The p "
    "of the t interval assumes that seeds vary roughly like a normal distribution. Holm's correction allows for "
    "having looked at several sizes and arms.",
    "The budget that is equal is that of fine-tuning. What pre-training cost is not counted.",
)


def title(comparison: Comparison) -> str:
    return f"Comparison: {comparison.study.name}"


def facts(comparison: Comparison) -> list[str]:
    """Where the numbers come from."""
    study = comparison.study
    env = study.environment.get("id", "unknown environment")
    kwargs = study.environment.get("kwargs") or {}
    lines = [
        f"Task {study.task}, environment {env} {json.dumps(kwargs) if kwargs else ''}".rstrip(),
        f"{len(study.counted)} of {study.planned} cells count, {len(study.starts)} evaluation episodes each",
    ]
    if study.git_commit:
        commits = study.git_commit.split("; ")  # more than one where a study was gone on with later
        short = [hash_[:12] + mark + rest for hash_, mark, rest in (commit.partition("-") for commit in commits)]
        lines.append(f"Code {', '.join(short)}")
    if study.machine:
        lines.append(f"Machine {study.machine}")
    return lines


def curves_alt(comparison: Comparison) -> str:
    """What the first figure shows, for those who do not see it."""
    parts = []
    for arm in comparison.study.arms:
        points = [
            f"{100 * row.rate:.0f} % at {size_text(row.episodes)}"
            for row in comparison.rates
            if row.arm == arm and row.rate is not None
        ]
        parts.append(f"{arm}: {', '.join(points) or 'no evaluated cell'}")
    return "Success rate against labelled episodes. " + "; ".join(parts) + "."


def differences_alt(comparison: Comparison) -> str:
    """What the second figure shows."""
    rows = [*comparison.differences, *comparison.areas]
    parts = [
        f"{row.arm} at {row.where}: {100 * row.method.mean:+.0f} points ({row.short_verdict})"
        for row in rows
        if row.method.mean is not None
    ]
    return "Paired differences against the baseline. " + ("; ".join(parts) or "Nothing to compare") + "."


def pretraining_lines(comparison: Comparison) -> list[str]:
    """One line for each checkpoint that an arm started from."""
    return [
        f"{arm}: {_source(source)}" for arm, sources in sorted(comparison.pretraining.items()) for source in sources
    ]


def _source(source: Mapping[str, Any]) -> str:
    digest = str(source.get("dataset_digest") or "unknown")[:12]
    return f"{source.get('path', 'unknown checkpoint')}, update {source.get('update', 'unknown')}, data {digest}"
