"""A run on disk: its settings, its metrics, its checkpoints; and whether it may be resumed."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from am_ray.settings import PretrainSettings
from am_ray.settings_reader import check_unchanged, to_mapping
from am_ray.strict_yaml import load_yaml
from am_ray.types import CheckpointError, DatasetError, SettingsError

if TYPE_CHECKING:
    from am_ray.models.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

# What may change between two parts of a run: how long it is, what is written, and settings that do not reach the numbers.
_MAY_DIFFER = (
    "dataset",  # compared by digest instead: a dataset may move
    "training.updates",
    "training.max_minutes",
    "training.updates_per_iteration",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "ingest.num_workers",
    "resources.num_gpus_per_learner",
)


@dataclass(frozen=True)
class Start:
    """The checkpoint to go on from, and its update."""

    directory: Path
    update: int


class RunDirectory:
    """``settings.yaml``, ``metrics.jsonl`` and ``checkpoint-*`` of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, settings: PretrainSettings, digest: str, resume: str) -> Start | None:
        """Checks that the run may be begun or resumed, and records its settings.

        Args:
            settings: Of this call.
            digest: Of the dataset.
            resume: ``auto``, ``must`` or ``never``.

        Returns:
            Where to go on, or None for a fresh run.

        Raises:
            SettingsError: The run was begun with other settings, or must not be resumed.
            CheckpointError: It must be resumed, and there is no valid checkpoint.
            DatasetError: It was trained on other data.
        """
        from am_ray.models.checkpoint import latest_valid_checkpoint, read_checkpoint

        latest = latest_valid_checkpoint(self.path) if self.path.exists() else None
        if latest is None and resume == "must":
            raise CheckpointError(
                f"{self.path}: no valid checkpoint to resume. Use --resume auto, or another --run-name."
            )
        if latest is not None and resume == "never":
            raise SettingsError(f"{self.path}: already holds {latest.name}. Use --resume auto, or another --run-name.")
        start = None
        if latest is not None:
            checkpoint = read_checkpoint(latest)
            self._check_same(settings, digest, checkpoint)
            start = Start(latest, checkpoint.state.update)
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(to_mapping(settings), sort_keys=False)
        _write_whole(self.path / "settings.yaml", text)
        self._drop_metrics_after(0 if start is None else start.update)
        return start

    def append_metrics(self, metrics: Mapping[str, float]) -> None:
        """One more line; a NaN becomes null, for JSON has none."""
        line = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        with self._metrics_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def save(self, checkpoint: Checkpoint, *, keep: int) -> Path:
        """Writes a checkpoint and deletes those beyond the ``keep`` newest."""
        from am_ray.models.checkpoint import save_checkpoint

        return save_checkpoint(self.path, checkpoint, keep=keep)

    def last_good(self) -> str:
        """A sentence that names the newest valid checkpoint."""
        from am_ray.models.checkpoint import latest_valid_checkpoint

        latest = latest_valid_checkpoint(self.path)
        return "There is no checkpoint yet." if latest is None else f"The last good checkpoint is {latest}."

    @property
    def _metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def _check_same(self, settings: PretrainSettings, digest: str, checkpoint: Checkpoint) -> None:
        recorded, why = load_yaml(self.path / "settings.yaml"), "a resumed run needs the same."
        check_unchanged(recorded, settings, where=str(self.path), why=why, may_differ=_MAY_DIFFER.__contains__)
        trained_on = checkpoint.origin["dataset"]["digest"]
        if trained_on != digest:
            raise DatasetError(
                f"{settings.dataset}: its digest is {digest[:12]}; the run {self.path} was trained on {trained_on[:12]}. "
                f"Give the same data, or use another --run-name."
            )

    def _drop_metrics_after(self, update: int) -> None:
        """Lines of updates that will be done again, and a last line that a kill cut short."""
        if not self._metrics_path.exists():
            return
        kept = []
        for line in self._metrics_path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["update"] <= update:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                logger.warning("%s: dropped an incomplete line", self._metrics_path)
        _write_whole(self._metrics_path, "".join(kept))


def _write_whole(path: Path, text: str) -> None:
    """The old content or the new, whenever the process is killed; a torn file could not be resumed from."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
