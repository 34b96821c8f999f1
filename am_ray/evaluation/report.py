"""What an evaluation found: numbers for programs, a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from am_ray.evaluation.intervals import wilson_interval
from am_ray.evaluation.runner import LEARNT, ORACLE, RANDOM, EpisodeResult

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class TaskResult:
    """Counts of one policy in one task.

    Attributes:
        n: Episodes that count.
        successes: With the goal reached at the last step.
        successes_any_step: With the goal reached at any step.
        infrastructure_failures: Episodes lost to a crash or a hang; not in ``n``.
        outcomes: A character for each episode in order: 1 success, 0 none, - lost. Two policies met the same starts under
            one seed, so a paired comparison can be made of them.
    """

    n: int
    successes: int
    successes_any_step: int
    infrastructure_failures: int
    outcomes: str = field(default="", repr=False)

    @classmethod
    def of(cls, results: Iterable[EpisodeResult]) -> TaskResult:
        """Counts the results of one policy's episodes in one task."""
        listed = list(results)
        counted = [result for result in listed if result.error is None]
        return cls(
            n=len(counted),
            successes=sum(result.success for result in counted),
            successes_any_step=sum(result.success_any_step for result in counted),
            infrastructure_failures=len(listed) - len(counted),
            outcomes="".join("-" if r.error is not None else str(int(r.success)) for r in listed),
        )

    @property
    def success_rate(self) -> float | None:
        """``None`` where no episode counts."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson 95 % interval."""
        return wilson_interval(self.successes, self.n)

    def to_json(self) -> dict[str, Any]:
        return {
            "success_rate": _rounded(self.success_rate),
            "n": self.n,
            "interval": [_rounded(bound) for bound in self.interval],
            "success_any_step": _rounded(self.successes_any_step / self.n if self.n else None),
            "infrastructure_failures": self.infrastructure_failures,
            "outcomes": self.outcomes,
        }


@dataclass(frozen=True)
class EvaluationReport:
    """Success rates by task: the checkpoint's, and those of the baselines on the same goals.

    Attributes:
        tasks: The checkpoint's results by task name.
        random: The random policy's, or ``None``.
        oracle: The scripted oracle's, or ``None`` where the environment has none.
        episodes: Asked for per task.
        max_steps: Actions per episode; ``None``: the environment ends them.
        acting: How it acted (``critic.acting``, or ``cloning.act``); ``None``: a policy that a function built.
        results: Every episode, in the order in which they were planned; not in the JSON.
        recordings: The episodes with frames; not in the JSON.
    """

    tasks: dict[str, TaskResult]
    random: dict[str, TaskResult] | None
    oracle: dict[str, TaskResult] | None
    seed: int
    checkpoint: str
    env_id: str
    env_kwargs: dict[str, Any]
    episodes: int
    max_steps: int | None
    acting: str | None = None
    results: tuple[EpisodeResult, ...] = field(default=(), repr=False)
    recordings: tuple[EpisodeResult, ...] = field(default=(), repr=False)

    @property
    def rows(self) -> dict[str, dict[str, TaskResult]]:
        """The table's rows: policy name to its results by task."""
        rows = {LEARNT: self.tasks, RANDOM: self.random, ORACLE: self.oracle}
        return {name: results for name, results in rows.items() if results is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain values that depend on checkpoint, environment and seed alone, not on machine, time or workers."""
        failures = [
            {"policy": r.job.policy, "task": r.job.task.name, "seed": r.job.seed, "error": r.error}
            for r in self.results
            if r.error is not None
        ]
        return {
            "tasks": _to_json(self.tasks),
            "random": _to_json(self.random),
            "oracle": _to_json(self.oracle),
            "seed": self.seed,
            "checkpoint": self.checkpoint,
            "env": {"id": self.env_id, "kwargs": self.env_kwargs},
            "episodes": self.episodes,
            "max_steps": self.max_steps,
            "acting": self.acting,
            "failures": failures,
        }

    def table(self) -> Table:
        """The results as a rich table; ``rich.print`` shows it, without colour where there is no terminal."""
        return results_table(self.rows)


def results_table(rows: Mapping[str, Mapping[str, TaskResult]], *, title: str | None = None) -> Table:
    """A table of success rates with their 95 % intervals.

    Args:
        rows: Policy name to its results by task; tasks missing in a row stay empty.
        title: Stands above the table.
    """
    from rich.table import Table

    names = list(dict.fromkeys(task for results in rows.values() for task in results))
    counts = {result.n for results in rows.values() for result in results.values()}
    n = f"n = {min(counts)} to {max(counts)}" if len(counts) > 1 else f"n = {max(counts, default=0)}"
    caption = f"success at the last step, in % [Wilson 95 % interval] (at any step); {n} episodes per task"
    table = Table(title=title, caption=caption, caption_justify="left")
    table.add_column("policy")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for policy, results in rows.items():
        table.add_row(policy, *(_cell(results[name]) if name in results else "" for name in names))
    return table


def _cell(result: TaskResult) -> str:
    if result.success_rate is None:
        return f"no episode counts, {result.infrastructure_failures} failed"
    low, high, any_step = (100 * rate for rate in (*result.interval, result.successes_any_step / result.n))
    text = f"{100 * result.success_rate:.0f} [{low:.0f}, {high:.0f}] ({any_step:.0f})"
    if result.infrastructure_failures:
        text += f", {result.infrastructure_failures} failed"
    # a bracket opens a style in rich's markup
    return text.replace("[", r"\[")


def _to_json(results: Mapping[str, TaskResult] | None) -> dict[str, Any] | None:
    return None if results is None else {name: result.to_json() for name, result in results.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
