"""From one config file to the trials of a sweep, every one of them checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from am_ray.settings import PretrainSettings
from am_ray.settings_reader import check_unchanged, flat, read_settings, to_mapping
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import StudySettings
from am_ray.sweep.search import expand, is_random
from am_ray.trials import Trial
from am_ray.types import CheckpointError, SettingsError

SEED = "seed"
# What may change between two calls of a sweep: where the data lie (trials compare their digests), how many run at once, and what a longer search is judged by.
# `sweep.search` is looked at trial by trial; `finetune` is not a sweep's, and not recorded.
_MAY_DIFFER = (
    "dataset",
    "finetune",
    "sweep.max_concurrent_trials",
    "sweep.max_failures",
    "sweep.num_samples",
    "sweep.search",
)


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep is going to do.

    Attributes:
        settings: Of the config file.
        trials: In order.
        values: Of each trial, by dotted setting.
        varied: The dotted settings that the search names.
    """

    settings: StudySettings
    trials: tuple[Trial, ...]
    values: Mapping[str, Mapping[str, Any]]
    varied: tuple[str, ...]

    @property
    def factors(self) -> tuple[str, ...]:
        """What is compared: the varied settings without the seed, which only repeats."""
        return tuple(key for key in self.varied if key != SEED) or self.varied

    def value(self, trial: str, key: str) -> Any:
        return self.values[trial][key]


def plan_sweep(settings: StudySettings, where: str) -> SweepPlan:
    """The trials that a config file asks for.

    Args:
        settings: With ``sweep.search``.
        where: File that they were written in, for messages.

    Raises:
        SettingsError: The search cannot be read, or a trial's settings are refused; names the trial and the setting.
    """
    drawn = expand(settings.sweep, where)
    short = short_names(list(settings.sweep.search))
    numbered = is_random(settings.sweep.search)
    base = to_mapping(settings.run)
    trials, values = [], {}
    for index, entry in enumerate(drawn):
        label = ",".join(f"{short[key]}={shown(value)}" for key, value in entry.items())
        run = read_settings(PretrainSettings, _with(base, entry), f"{where}: trial {label}")
        name = _folder_name(f"{index:03d},{label}" if numbered else label)
        resolved = flat(to_mapping(run))
        values[name] = {key: resolved[key] for key in entry}
        tags = {short[key]: shown(value) for key, value in values[name].items()}
        trials.append(Trial(name, run, settings.evaluation, {"seed": str(run.seed)} | tags))
    return SweepPlan(settings, tuple(trials), values, tuple(settings.sweep.search))


def may_begin(plan: SweepPlan, folder: Path, resume: str) -> None:
    """Whether the sweep may be begun, or gone on with, in this folder; nothing is written.

    More values of a grid and more draws may be added; what was run stays as it was.

    Raises:
        SettingsError: It holds another sweep, or must not exist.
        CheckpointError: It must exist, and does not.
    """
    path = folder / "settings.yaml"
    if resume == "must" and not path.exists():
        raise CheckpointError(f"{folder}: no sweep to resume. Use --resume auto, or another --run-name.")
    if resume == "never" and path.exists():
        raise SettingsError(f"{folder}: already holds a sweep. Use --resume auto, or another --run-name.")
    if path.exists():
        _check_same(plan, load_yaml(path), folder)


def begin(plan: SweepPlan, folder: Path, resume: str) -> None:
    """Records in the folder what the sweep is, if it may be begun there, see `may_begin`.

    Raises:
        SettingsError: It may not.
        CheckpointError: It must exist, and does not.
    """
    may_begin(plan, folder, resume)
    path, now = folder / "settings.yaml", _recorded(plan.settings)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(yaml.safe_dump(now, sort_keys=False), encoding="utf-8")
    temporary.replace(path)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted setting, or all of it where two share that."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def shown(value: Any) -> str:
    """A value in a name, in a table, on an axis."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "x".join(shown(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _recorded(settings: StudySettings) -> dict[str, Any]:
    mapping = to_mapping(settings)
    mapping.pop("finetune")
    return mapping


def _check_same(plan: SweepPlan, before: Mapping[str, Any], folder: Path) -> None:
    why = "a sweep that goes on needs the same."
    check_unchanged(before, plan.settings, where=str(folder), why=why, may_differ=_MAY_DIFFER.__contains__)
    earlier = plan_sweep(read_settings(StudySettings, before, str(folder)), str(folder))
    trials = {trial.name: trial.sha256 for trial in plan.trials}
    missing = [trial.name for trial in earlier.trials if trials.get(trial.name) != trial.sha256]
    if missing:
        raise SettingsError(
            f"{folder}: begun with {len(earlier.trials)} trials, of which the search now lacks {missing[0]!r}; more may be "
            f"added, but {why} Change it back, or use another --run-name."
        )


def _with(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {key: _with(item, {}) if isinstance(item, Mapping) else item for key, item in base.items()}
    for key, value in values.items():
        *parents, last = key.split(".")
        inner = result
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return result


def _folder_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=+,-]", "_", text)[:180]
