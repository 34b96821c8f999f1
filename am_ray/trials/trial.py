"""What a trial is, what became of it, and its files beside those of the run that it is.

<folder>/trials/<name>/
    settings.yaml  metrics.jsonl  checkpoint-*/     the run's, see am_ray.run_directory
    evaluations.jsonl                               one line for each evaluation
    error.txt                                       of the last attempt, if it failed
    trial.json                                      written once, when the trial has ended
    trial.log                                       what its processes logged
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from am_ray.settings import PretrainSettings
from am_ray.settings_reader import check_unchanged, to_mapping
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import EvaluationSettings
from am_ray.trials.data_identity import data_identity
from am_ray.types import SettingsError

Status = Literal["completed", "stopped", "failed"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]{0,199}")
SUCCESS_RATE = "eval/success_rate"


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        name: Of its folder and of its MLflow run.
        settings: What is trained, and how.
        evaluation: How its policy is tried.
        tags: What tells it from the others (arm, seed, ...): MLflow tags, columns of the table.
        sha256: Of what it is about, reckoned once, on the driver. The dataset's path is left out: data may move. Results are
            kept with the data's digest, see `am_ray.trials.data_identity`.
    """

    name: str
    settings: PretrainSettings
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    tags: Mapping[str, str] = field(default_factory=dict)
    sha256: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settings = dataclasses.replace(self.settings, dataset="")
        content = {"settings": to_mapping(settings), "evaluation": to_mapping(self.evaluation)}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "sha256", digest)


@dataclass(frozen=True)
class TrialResult:
    """What became of a trial.

    Attributes:
        status: ``completed``; ``stopped`` by the scheduler, for others did better; or ``failed``.
        update: Updates done.
        minutes: Of training, over all resumes.
        metrics: The last ones of training, ``eval/<task>/success_rate``, and their mean ``eval/success_rate``.
        evaluation: Every episode of the last evaluation: ``env``, ``seed``, ``episodes``, ``max_steps``, ``tasks``.
        checkpoint: The one that was evaluated last.
        error: What made it fail.
        git_commit: Of the code that its last attempt began with, the driver's where that was no checkout; None if this was none either, and of trials before 2026-11-28.
        machine: The kind of machine that ended it: the trial's own, or the driver's if it was stopped or its process died.
    """

    name: str
    status: Status
    update: int
    minutes: float
    metrics: dict[str, float]
    evaluation: dict[str, Any] | None = None
    checkpoint: str | None = None
    error: str | None = None
    git_commit: str | None = None
    machine: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrialResult:
        """The inverse of `to_json`; keys of other names are ignored."""
        return cls(**{entry.name: value[entry.name] for entry in dataclasses.fields(cls) if entry.name in value})


def origin_of(results: Sequence[TrialResult]) -> dict[str, str | None]:
    """``git_commit`` and ``machine`` of a study: those of its trials, of which some may have been run earlier or elsewhere.

    None if no trial tells; where some do not, "unknown" is among them.
    """
    found = {name: [getattr(result, name) for result in results] for name in ("git_commit", "machine")}
    return {
        name: "; ".join(dict.fromkeys(value or "unknown" for value in values)) if any(values) else None
        for name, values in found.items()
    }


@dataclass(frozen=True)
class Evaluated:
    """An evaluation of a trial, on the way or at the end.

    Attributes:
        checkpoint: Name of the checkpoint in the trial's folder.
        metrics: Of training at that update, and ``eval/...``.
        record: `TrialResult.evaluation`.
    """

    update: int
    checkpoint: str
    metrics: dict[str, float]
    record: dict[str, Any]


@dataclass(frozen=True)
class _HowEvaluated:
    """A trial's evaluation under the name that it has in settings."""

    evaluation: EvaluationSettings


class TrialFolder:
    """The files of a trial that are not its run's."""

    def __init__(self, folder: Path, name: str) -> None:
        self.storage = folder / "trials"
        self.path = self.storage / name

    def result(self, trial: Trial) -> TrialResult | None:
        """How the trial ended, or None if it has not.

        Raises:
            SettingsError: It was another trial, of the same name: other settings, or other data.
        """
        path = self.path / "trial.json"
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["sha256"] != trial.sha256:
            self._refuse(trial, content)
        now, before = data_identity(trial.settings), content.get("data", {})
        for name in now.keys() & before.keys():
            if now[name] != before[name]:
                raise SettingsError(
                    f"{self.path}: holds a trial of other data: {name} was {before[name]}, now it is {now[name]}; results "
                    f"would be mixed. Give the data that it began with (they may lie elsewhere), or use another --run-name."
                )
        result = TrialResult.from_json(content["result"])
        if result.checkpoint is None:
            return result
        # The folder may have been moved since.
        return dataclasses.replace(result, checkpoint=str(self.path.resolve() / Path(result.checkpoint).name))

    def _refuse(self, trial: Trial, content: Mapping[str, Any]) -> NoReturn:
        """Says why it is not the trial that ended here."""
        where, why = str(self.path), "results would be mixed."
        path = self.path / "settings.yaml"
        if path.exists():  # a trial that failed at once has left none
            check_unchanged(
                load_yaml(path), trial.settings, where=where, why=why, may_differ=lambda name: name == "dataset"
            )
        # Not told by trials of before 2026-11-29.
        if "evaluation" in content:
            check_unchanged(
                {"evaluation": content["evaluation"]}, _HowEvaluated(trial.evaluation), where=where, why=why
            )
        raise SettingsError(
            f"{where}: holds a trial of other settings, or of another evaluation; {why} Change it back, or use another "
            f"--run-name."
        )

    def write_result(self, trial: Trial, result: TrialResult) -> None:
        """Whole or not at all."""
        data = data_identity(trial.settings)
        evaluation = to_mapping(trial.evaluation)
        content = {"sha256": trial.sha256, "data": data, "evaluation": evaluation, "result": result.to_json()}
        self.write_whole("trial.json", json.dumps(content, indent=1, allow_nan=False) + "\n")

    def evaluations(self, up_to: int | None = None) -> list[Evaluated]:
        """What was written of them, in order; a last line that a kill cut short is left out.

        Args:
            up_to: Updates whose evaluations count; those of updates that will be done again do not.
        """
        found = [Evaluated(**line) for line in _lines(self.path / "evaluations.jsonl")]
        return [entry for entry in found if up_to is None or entry.update <= up_to]

    def write_evaluations(self, entries: Sequence[Evaluated]) -> None:
        """All of them, anew."""
        lines = [json.dumps(dataclasses.asdict(entry), allow_nan=False) + "\n" for entry in entries]
        self.write_whole("evaluations.jsonl", "".join(lines))

    def training(self, up_to: int | None = None) -> tuple[int, float, dict[str, float]]:
        """Updates done, minutes of training over all resumes, and the last metrics of training.

        Args:
            up_to: The last update that counts.
        """
        lines = [line for line in _lines(self.path / "metrics.jsonl") if up_to is None or line["update"] <= up_to]
        if not lines:
            return 0, 0.0, {}
        seconds = [float(line["seconds"]) for line in lines]
        # The clock of a resumed run begins anew.
        parts = [before for before, after in itertools.pairwise(seconds) if after < before]
        last = {name: float(value) for name, value in lines[-1].items() if value is not None}
        update = int(last.pop("update"))
        last.pop("seconds")
        return update, (sum(parts) + seconds[-1]) / 60.0, last

    def write_whole(self, name: str, text: str) -> None:
        """The old content or the new, whenever the process is killed."""
        # A trial that failed before its process began has no folder yet.
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / (name + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path / name)


def check_names(trials: Sequence[Trial]) -> None:
    """Refuses names that are no folders' names, or that two trials share.

    Raises:
        SettingsError: There is such a name.
    """
    names = [trial.name for trial in trials]
    wrong = [name for name in names if not _NAME.fullmatch(name)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if wrong or twice:
        raise SettingsError(
            f"trials: got the names {', '.join(wrong or twice)}; expected letters, digits and any of ._=+,- , each name "
            f"once. Rename them."
        )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
