"""Which data a trial is of, whatever folder they lie in: digests, so that results of other data are never mixed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from am_ray.settings import PretrainSettings
from am_ray.types import AmRayError


def data_identity(settings: PretrainSettings) -> dict[str, str]:
    """What each setting that names data stands for now: ``dataset``, and ``task.initial`` and ``task.auxiliary``.

    What cannot be read (data that were moved away after a trial had ended) is left out; training refuses it.
    """
    asked: list[tuple[str, str, Callable[[str], str]]] = [("dataset", settings.dataset, _digest)]
    if settings.algorithm.method == "task_critic":
        asked += [("task.initial", settings.task.initial, _checkpoint)]
        asked += [("task.auxiliary", settings.task.auxiliary, _digest)]
    found = {}
    for name, path, identify in asked:
        if path:
            try:
                found[name] = identify(path)
            except (AmRayError, OSError, KeyError, ValueError):
                continue
    return found


def _digest(path: str) -> str:
    from am_ray.data.reader import read_manifest

    return read_manifest(path).digest


def _checkpoint(path: str) -> str:
    from am_ray.models.checkpoint import find_checkpoint

    content = json.loads((Path(find_checkpoint(path)) / "checkpoint.json").read_text(encoding="utf-8"))
    return f"update {content['update']} of a run on {content['origin']['dataset']['digest']}"
