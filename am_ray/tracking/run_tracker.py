"""What a run says about itself, written to its spool: microseconds each, no network, never an error for training."""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

from am_ray.tracking.origin import origin_tags
from am_ray.tracking.redaction import flat_texts, key_name, redacted
from am_ray.tracking.spool import Record, append, read_entries, spool_path

logger = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]
# MLflow cuts longer params silently.
MAX_PARAM_LENGTH = 6_000
_Arguments = ParamSpec("_Arguments")


def _harmless(
    method: Callable[Concatenate[RunTracker, _Arguments], None],
) -> Callable[Concatenate[RunTracker, _Arguments], None]:
    """Whatever goes wrong while a record is written is logged, the first time, and training goes on."""

    def guarded(self: RunTracker, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            level = logging.DEBUG if self._complained else logging.WARNING
            self._complained = True
            logger.log(level, "%s: tracking failed (%s); the run goes on without it", self.folder, error)

    update_wrapper(guarded, method)
    return guarded


class RunTracker:
    """One MLflow run, as its folder knows it; nothing is written before the first record."""

    def __init__(self, folder: Path, header: Record) -> None:
        self.folder = folder
        self._header = header
        self._begun = False
        self._complained = False
        self._params: dict[str, str] = {}
        self._datasets: set[tuple[str, str, str]] = set()

    @classmethod
    def open(
        cls, folder: Path, *, name: str, stage: str, parent: Path | None = None, tags: Mapping[str, str] | None = None
    ) -> RunTracker:
        """The tracker of the run in ``folder``; a folder that was tracked before goes on with the same MLflow run.

        Args:
            folder: Of the run; need not exist yet.
            name: Of the MLflow run.
            stage: ``pretrain``, ``sweep``, ``finetune`` or ``compare``.
            parent: Folder of the parent run, if there is one.
            tags: Beside ``stage``, ``git.commit`` and ``ray.job_id``.
        """
        header: Record = {"type": "run", "key": uuid.uuid4().hex, "name": name, "stage": stage}
        if parent is not None:
            header["parent"] = os.path.relpath(parent, folder)
        header["tags"] = {"stage": stage} | origin_tags() | _texts(tags or {})
        tracker = cls(Path(folder), header)
        tracker._recall()
        return tracker

    @_harmless
    def params(self, values: Mapping[str, Any]) -> None:
        """What the run was started with; nested mappings become ``a.b.c``.

        A param keeps its first value; another one, of a run that was resumed, becomes the tag ``changed.<name>``.
        """
        flat = flat_texts(values)
        fresh = {name: text for name, text in flat.items() if name not in self._params}
        changed = {f"changed.{name}": text for name, text in flat.items() if self._params.get(name, text) != text}
        if changed:
            self._write({"type": "tags", "values": changed})
        for name, text in fresh.items():
            if len(text) > MAX_PARAM_LENGTH:
                self._write({"type": "text", "file": f"params/{name}.txt", "text": text})
        if fresh:
            short = {n: t if len(t) <= MAX_PARAM_LENGTH else f"see params/{n}.txt" for n, t in fresh.items()}
            self._write({"type": "params", "values": short})
            self._params |= fresh

    @_harmless
    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Points of curves, named ``group/name``; NaN and infinities are dropped. A (name, step) counts once."""
        finite = _finite(values)
        if finite:
            self._write({"type": "metrics", "step": int(step), "values": finite})

    @_harmless
    def tags(self, values: Mapping[str, str]) -> None:
        self._write({"type": "tags", "values": _texts(values)})

    @_harmless
    def artifact(self, path: Path, *, folder: str = "") -> None:
        """A file or a directory, read when it is sent, put below ``folder`` of the run's artifacts."""
        self._write({"type": "artifact", "path": self._relative(path), "folder": folder})

    @_harmless
    def dataset(self, *, name: str, digest: str, source: str, context: str) -> None:
        """Data that the run used, ``context`` says what for."""
        if (name, digest, context) not in self._datasets:
            source = redacted("source", source)
            self._write({"type": "dataset", "name": name, "digest": digest, "source": source, "context": context})
            self._datasets.add((name, digest, context))

    @_harmless
    def checkpoint(self, directory: Path, *, step: int, metrics: Mapping[str, float] | None = None) -> None:
        """A checkpoint as a LoggedModel, with the metrics that it had."""
        values = _finite(metrics or {})
        self._write({"type": "checkpoint", "path": self._relative(directory), "step": int(step), "values": values})

    @_harmless
    def best_checkpoint(self, directory: Path, *, metric: str, value: float) -> None:
        """Registers a checkpoint, of this run or of one of its children, under the alias ``best``."""
        record: Record = {"type": "best", "path": self._relative(directory), "metric": key_name(metric)}
        self._write(record | {"value": float(value)})

    @_harmless
    def end(self, status: Status) -> None:
        """How it ended; the last word counts. Records after it are sent all the same."""
        self._write({"type": "end", "status": status})

    def _recall(self) -> None:
        """What an earlier process wrote here."""
        try:
            for entry in read_entries(spool_path(self.folder)):
                record = entry.record or {"type": ""}
                if record["type"] == "run" and self._header["type"] == "run":
                    self._header = {"type": "reopen", "key": record["key"], "tags": self._header["tags"]}
                elif record["type"] == "params":
                    self._params |= {n: t for n, t in record["values"].items() if n not in self._params}
                elif record["type"] == "text":
                    self._params[record["file"].removeprefix("params/").removesuffix(".txt")] = record["text"]
                elif record["type"] == "dataset":
                    self._datasets.add((record["name"], record["digest"], record["context"]))
        except Exception as error:
            logger.warning("%s: cannot be read (%s); tracking begins anew", spool_path(self.folder), error)

    def _write(self, record: Record) -> None:
        path = spool_path(self.folder)
        if not self._begun:
            path.parent.mkdir(parents=True, exist_ok=True)
            append(path, self._header | {"time": _now_ms()})
            self._begun = True
        append(path, record | {"time": _now_ms()})

    def _relative(self, path: Path) -> str:
        """Relative to the folder, so that a storage may move as a whole."""
        return os.path.relpath(path, self.folder)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    numbers = {key_name(name): float(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _texts(values: Mapping[str, str]) -> dict[str, str]:
    return {key_name(name): redacted(name, str(value)) for name, value in values.items()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
