"""What a training run tells its tracker: settings, data, curves, kept checkpoints, how it ended."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from am_ray.settings import PretrainSettings
from am_ray.settings_reader import settings_sha256, to_mapping
from am_ray.tracking.run_tracker import RunTracker, Status

# Curves under another name, or none: MLflow has the update as the step.
_RENAMED = {"train/updates_per_s": "time/updates_per_s", "train/updates": None}
_FINAL_GROUPS = ("critic", "cloning", "proposal")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class TrainingLog:
    """A context around training: its end is the run's. Without a tracker nothing happens.

    An error is a FAILED run, a signal (``stopped``, or KeyboardInterrupt) a KILLED one, all else a FINISHED one.
    """

    def __init__(self, tracker: RunTracker | None, run_dir: Path) -> None:
        self._tracker = tracker
        self._run_dir = run_dir
        self._last: tuple[int, dict[str, float]] | None = None
        self.stopped = False

    def begin(self, settings: PretrainSettings, digest: str) -> None:
        if self._tracker is None:
            return
        self._tracker.params(to_mapping(settings))
        tags = {"seed": str(settings.seed), "dataset.digest": digest, "config.sha256": settings_sha256(settings)}
        if settings.task.initial:
            tags["pretrained_from"] = settings.task.initial
        self._tracker.tags(tags)
        data = Path(settings.dataset)
        self._tracker.dataset(name=data.name, digest=digest, source=settings.dataset, context="training")

    def iteration(self, update: int, metrics: Mapping[str, float]) -> None:
        if self._tracker is not None:
            curves = {_RENAMED.get(name, name): value for name, value in metrics.items()}
            self._last = update, {name: value for name, value in curves.items() if name is not None}
            self._tracker.metrics(self._last[1], step=update)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._tracker is None:
            return
        for directory in sorted(self._run_dir.glob("checkpoint-*")):
            found = _CHECKPOINT.fullmatch(directory.name)
            if found:
                step = int(found[1])
                self._tracker.checkpoint(directory, step=step, metrics=self._metrics_at(step))
        if self._last is not None:
            update, metrics = self._last
            summary = {f"final/{name}": v for name, v in metrics.items() if name.startswith(_FINAL_GROUPS)}
            self._tracker.metrics(summary | {"final/update": update}, step=update)
        status: Status = "FINISHED"
        if kind is not None:
            status = "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._tracker.end("KILLED" if self.stopped else status)

    def _metrics_at(self, update: int) -> dict[str, float]:
        """The losses that the run's ``metrics.jsonl`` has for an update."""
        try:
            lines = map(json.loads, (self._run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
            line: dict[str, float | None] = next((each for each in lines if each.get("update") == update), {})
        except (OSError, ValueError):
            return {}
        return {name: v for name, v in line.items() if name.startswith(_FINAL_GROUPS) and v is not None}
