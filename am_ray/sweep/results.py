"""What a sweep found: rows for programs, one line for each setting (over its seeds) for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from am_ray.evaluation import wilson_interval
from am_ray.sweep.plan import SweepPlan, short_names, shown
from am_ray.trials.trial import SUCCESS_RATE, TrialResult, origin_of

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Counts:
    """Episodes that count, and those that succeeded."""

    n: int
    successes: int

    @classmethod
    def of(cls, results: Sequence[TrialResult], task: str | None = None) -> Counts:
        """Of one task, or of all, in all these trials."""
        episodes = [
            episode
            for result in results
            if result.evaluation is not None
            for name, listed in result.evaluation["tasks"].items()
            if task in (None, name)
            for episode in listed
            if episode["error"] is None
        ]
        return cls(len(episodes), sum(episode["success"] for episode in episodes))

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson 95 % interval over episodes; it knows nothing of differences between seeds."""
        return wilson_interval(self.successes, self.n)

    def to_json(self) -> dict[str, Any]:
        rate = self.successes / self.n if self.n else None
        return {"n": self.n, "successes": self.successes, "success_rate": rate, "interval": list(self.interval)}


@dataclass(frozen=True)
class Group:
    """The trials that differ in their seed alone.

    Attributes:
        values: What they share, by dotted setting.
        results: Those that have ended, less the failed ones.
        failed: Those that failed: what they measured before does not count.
        mean: Of the metric, over those results that have one; None if none has.
    """

    values: Mapping[str, Any]
    results: tuple[TrialResult, ...]
    failed: tuple[TrialResult, ...]
    mean: float | None

    @property
    def updates(self) -> list[int]:
        return sorted({result.update for result in self.results})


def groups(plan: SweepPlan, results: Sequence[TrialResult]) -> list[Group]:
    """The best first, by the mean of the metric over the seeds; those without one last."""
    metric = plan.settings.sweep.metric
    found: dict[str, list[TrialResult]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for result in results:
        values = {key: plan.value(result.name, key) for key in plan.factors}
        key = json.dumps(values, sort_keys=True)
        found.setdefault(key, []).append(result)
        shared[key] = values
    listed = []
    for key, members in found.items():
        counted = tuple(result for result in members if result.status != "failed")
        failed = tuple(result for result in members if result.status == "failed")
        numbers = [result.metrics[metric] for result in counted if metric in result.metrics]
        listed.append(Group(shared[key], counted, failed, sum(numbers) / len(numbers) if numbers else None))
    sign = -1.0 if plan.settings.sweep.mode == "max" else 1.0
    return sorted(listed, key=lambda group: (group.mean is None, sign * (group.mean or 0.0)))


def best_trial(plan: SweepPlan, results: Sequence[TrialResult]) -> TrialResult | None:
    """The one with the best metric of those that ran to their end; of equals, the first."""
    metric = plan.settings.sweep.metric
    able = [r for r in results if r.status == "completed" and metric in r.metrics and r.checkpoint is not None]
    sign = 1.0 if plan.settings.sweep.mode == "max" else -1.0
    return max(able, key=lambda result: sign * result.metrics[metric], default=None)


def to_json(plan: SweepPlan, results: Sequence[TrialResult], *, name: str) -> dict[str, Any]:
    """The content of ``results.json``."""
    best = best_trial(plan, results)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "sweep",
        "name": name,
        **origin_of(results),
        "metric": plan.settings.sweep.metric,
        "mode": plan.settings.sweep.mode,
        "varied": list(plan.varied),
        "best": None if best is None else best.name,
        "trials_planned": len(plan.trials),
        "trials": [{**result.to_json(), "values": dict(plan.values[result.name])} for result in results],
        "groups": [
            {
                "values": dict(group.values),
                "trials": [result.name for result in group.results],
                "failed": [result.name for result in group.failed],
                "mean": group.mean,
                **Counts.of(group.results).to_json(),
            }
            for group in groups(plan, results)
        ],
    }


def to_csv(plan: SweepPlan, results: Sequence[TrialResult]) -> str:
    """One line for each trial."""
    tasks = task_names(results)
    metrics = sorted({name for result in results for name in result.metrics if not name.startswith("eval/")})
    header = ["trial", "status", *plan.varied, "update", "minutes", SUCCESS_RATE, "episodes", "low", "high"]
    header += [f"eval/{task}/success_rate" for task in tasks] + metrics + ["checkpoint", "error"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for result in results:
        counts = Counts.of([result])
        row: list[Any] = [result.name, result.status, *(shown(plan.value(result.name, key)) for key in plan.varied)]
        row += [result.update, round(result.minutes, 3), result.metrics.get(SUCCESS_RATE), counts.n]
        row += [round(bound, 4) for bound in counts.interval] if counts.n else [None, None]
        row += [result.metrics.get(f"eval/{task}/success_rate") for task in tasks]
        row += [result.metrics.get(name) for name in metrics]
        writer.writerow([*row, result.checkpoint, result.error])
    return stream.getvalue()


def task_names(results: Sequence[TrialResult]) -> list[str]:
    return list(dict.fromkeys(t for result in results if result.evaluation for t in result.evaluation["tasks"]))


def table(plan: SweepPlan, results: Sequence[TrialResult], *, title: str) -> Table:
    """One line for each setting, the best first."""
    from rich.table import Table

    short, tasks, sweep = short_names(plan.varied), task_names(results), plan.settings.sweep
    caption = "success at the last step, in %: mean over seeds [Wilson 95 % interval over all their episodes]"
    if any(result.status == "stopped" for result in results):
        caption += "; trials that were stopped early are judged by their last evaluation"
    made = Table(title=title, caption=caption, caption_justify="left")
    for key in plan.factors:
        made.add_column(short[key], justify="right")
    for name in ("seeds", "episodes", "updates"):
        made.add_column(name, justify="right")
    other = sweep.metric != SUCCESS_RATE
    for name in [*([sweep.metric] if other else []), "success", *(tasks if len(tasks) > 1 else [])]:
        made.add_column(name.replace("_", " "), justify="right")
    if _remarks(results):
        made.add_column("")
    for group in groups(plan, results):
        row = [shown(group.values[key]) for key in plan.factors]
        row += [str(len(group.results)), str(Counts.of(group.results).n), "-".join(map(str, _ends(group.updates)))]
        row += [] if not other else ["" if group.mean is None else f"{group.mean:.4g}"]
        row += [_cell(group.results)] + [_cell(group.results, task) for task in (tasks if len(tasks) > 1 else [])]
        made.add_row(*row, *([_remarks([*group.results, *group.failed])] if _remarks(results) else []))
    return made


def _ends(updates: list[int]) -> list[int]:
    return updates if len(updates) < 2 else [updates[0], updates[-1]]


def _cell(results: Sequence[TrialResult], task: str | None = None) -> str:
    metric = SUCCESS_RATE if task is None else f"eval/{task}/success_rate"
    rates = [result.metrics[metric] for result in results if metric in result.metrics]
    if not rates:
        return ""
    low, high = Counts.of(results, task).interval
    text = f"{100 * sum(rates) / len(rates):.0f} [{100 * low:.0f}, {100 * high:.0f}]"
    return text.replace("[", r"\[")  # a bracket opens a style in rich's markup


def _remarks(results: Sequence[TrialResult]) -> str:
    counts = {status: sum(result.status == status for result in results) for status in ("stopped", "failed")}
    return ", ".join(f"{count} {status}" for status, count in counts.items() if count)
