"""Checkpoints: safetensors and JSON in a directory, hashed, committed by one rename. Never pickle; runs without Ray.

checkpoint-000000500/
    weights.safetensors         every parameter and buffer, averaged copies included
    optimizer.safetensors       Adam's moments and step counters
    statistics.safetensors      the data's scale, needed to build the network
    checkpoint.json             everything else: spec, settings, counters, where the data came from
    manifest.json               size and sha256 of the others, written last
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from am_ray.models.hashed_files import MANIFEST, read_hashed_files, refuse_pickles, sync_directory, write_hashed_files
from am_ray.models.policy import GoalConditionedPolicy, Model, build_model
from am_ray.models.weights import load_weights, with_copies
from am_ray.settings import Acting, AlgorithmSettings, CloningAct
from am_ray.settings_reader import read_settings, settings_sha256, to_mapping
from am_ray.types import CheckpointError, DataSpec, DataStatistics, SettingsError

logger = logging.getLogger(__name__)

FORMAT = "am-ray-checkpoint"
FORMAT_VERSION = 1
_DESCRIPTION = "checkpoint.json"
_WEIGHTS, _OPTIMIZER, _STATISTICS = "weights.safetensors", "optimizer.safetensors", "statistics.safetensors"
_FILES = (_WEIGHTS, _OPTIMIZER, _STATISTICS, _DESCRIPTION)
_NAME = re.compile(r"checkpoint-(\d{9,})")


@dataclass(frozen=True)
class TrainingState:
    """What a learner must get back to go on as if it had never stopped.

    Generators and the position in the data are functions of (seed, learner, update), so the counter covers them.

    Attributes:
        weights: The model's whole ``state_dict``.
        optimizer: Entries ``<parameter index>.<name>`` of the optimizer's state.
        update: Updates attempted, skipped ones included.
        skipped_updates: Updates skipped for a non-finite value, in total ...
        skipped_in_a_row: ... and since the last one that was taken.
    """

    weights: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    update: int = 0
    skipped_updates: int = 0
    skipped_in_a_row: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A training state, and all that is needed to build the network that it fits.

    Attributes:
        spec: Shapes of the data.
        statistics: Scale of the data.
        settings: Resolved settings of the algorithm.
        state: The learner's state.
        origin: Plain data about the run: ``seed``, ``dataset`` with ``path``, ``digest`` and ``environment``, ...
    """

    spec: DataSpec
    statistics: DataStatistics
    settings: AlgorithmSettings
    state: TrainingState
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """The content of ``checkpoint.json``."""
        from am_ray import __version__

        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "am_ray_version": __version__,
            "update": self.state.update,
            "skipped_updates": self.state.skipped_updates,
            "skipped_in_a_row": self.state.skipped_in_a_row,
            "spec": self.spec.to_json(),
            "settings": to_mapping(self.settings),
            "settings_sha256": settings_sha256(self.settings),
            "origin": dict(self.origin),
        }


class CheckpointPolicy(GoalConditionedPolicy):
    """A policy that knows where it came from.

    Attributes:
        metadata: The content of ``checkpoint.json``.
    """

    def __init__(self, model: Model, metadata: Mapping[str, Any], *, seed: int = 0) -> None:
        super().__init__(model, seed=seed)
        self.metadata = metadata


def save_checkpoint(run_dir: str | Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Writes ``run_dir/checkpoint-<update>`` so that it exists whole or not at all.

    Args:
        run_dir: Created if missing. One process writes to it at a time.
        checkpoint: What to save.
        keep: Checkpoints to keep, the newest; older ones go only after the new one was read back and found valid.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    for leftover in run_dir.glob(".tmp-checkpoint-*"):
        shutil.rmtree(leftover)
    final = run_dir / f"checkpoint-{checkpoint.state.update:09d}"
    temporary = run_dir / f".tmp-{final.name}"
    temporary.mkdir()
    write_checkpoint(temporary, checkpoint)
    if final.exists():
        # A directory cannot be replaced by a rename; the older checkpoints cover the moment in between.
        final.replace(run_dir / f".tmp-{final.name}-replaced")
    temporary.replace(final)
    sync_directory(run_dir)
    verify_checkpoint(final)
    shutil.rmtree(run_dir / f".tmp-{final.name}-replaced", ignore_errors=True)
    for old in _checkpoint_dirs(run_dir)[keep:]:
        if old != final:
            shutil.rmtree(old)
    return final


def write_checkpoint(directory: str | Path, checkpoint: Checkpoint) -> None:
    """Writes the files into an existing directory, the manifest last: without it nothing counts as a checkpoint."""
    from safetensors.numpy import save  # late, here and below: networks train where only torch is installed

    statistics = checkpoint.statistics
    arrays = {f"mean.{name}": value for name, value in statistics.mean.items()}
    arrays |= {f"std.{name}": value for name, value in statistics.std.items()}
    arrays["action_pool"] = statistics.action_pool
    contents = {
        _WEIGHTS: save(_contiguous(checkpoint.state.weights)),
        _OPTIMIZER: save(_contiguous(checkpoint.state.optimizer)),
        _STATISTICS: save(_contiguous(arrays)),
        _DESCRIPTION: json.dumps(checkpoint.metadata, indent=1, sort_keys=True).encode(),
    }
    write_hashed_files(Path(directory), contents)


def verify_checkpoint(directory: str | Path) -> None:
    """Compares every file with the manifest, byte by byte.

    Raises:
        CheckpointError: The directory is no checkpoint of ours, is torn, or holds a pickle.
    """
    read_hashed_files(Path(directory), _FILES)


def read_checkpoint(directory: str | Path) -> Checkpoint:
    """Reads a checkpoint after verifying it.

    Raises:
        CheckpointError: It is missing, torn, of another format or version, or holds a pickle.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    directory = Path(directory)
    files = read_hashed_files(directory, _FILES)
    description = _read_description(directory, files[_DESCRIPTION])
    try:
        arrays = load(files[_STATISTICS])
        state = TrainingState(
            weights=with_copies(load(files[_WEIGHTS])),
            optimizer=load(files[_OPTIMIZER]),
            update=int(description["update"]),
            skipped_updates=int(description["skipped_updates"]),
            skipped_in_a_row=int(description["skipped_in_a_row"]),
        )
        statistics = DataStatistics(
            mean={name.removeprefix("mean."): v for name, v in arrays.items() if name.startswith("mean.")},
            std={name.removeprefix("std."): v for name, v in arrays.items() if name.startswith("std.")},
            action_pool=arrays["action_pool"],
        )
        settings = read_settings(AlgorithmSettings, description["settings"], f"{directory / _DESCRIPTION}")
        return Checkpoint(DataSpec.from_json(description["spec"]), statistics, settings, state, description["origin"])
    except (KeyError, TypeError, ValueError, SafetensorError, SettingsError) as error:
        raise CheckpointError(
            f"{directory}: hashes agree but the content does not fit this version of am-ray ({error}). "
            f"It was written by am-ray {description.get('am_ray_version')}; use that version."
        ) from error


def latest_valid_checkpoint(run_dir: str | Path) -> Path | None:
    """The newest checkpoint of a run whose hashes agree; torn ones are passed over with a warning. None if there is none."""
    for directory in _checkpoint_dirs(Path(run_dir)):
        try:
            verify_checkpoint(directory)
        except CheckpointError as error:
            logger.warning("%s Falling back to an older checkpoint.", error)
        else:
            return directory
    return None


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that ``path`` is, or the newest valid one of the run that it is.

    Raises:
        CheckpointError: There is none.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such directory; expected a checkpoint or a run directory. Check the path.")
    if _NAME.fullmatch(path.name) or (path / MANIFEST).exists() or (path / _DESCRIPTION).exists():
        return path
    latest = latest_valid_checkpoint(path)
    if latest is None:
        refuse_pickles(path)
        raise CheckpointError(
            f"{path}: holds no valid checkpoint-*; expected a run of 'am-ray pretrain'. Check the path."
        )
    return latest


def load_policy(path: str | Path, *, seed: int = 0, acting: Acting | CloningAct | None = None) -> CheckpointPolicy:
    """The policy of a checkpoint, ready to act; needs neither Ray nor the dataset.

    Args:
        path: A checkpoint directory, or a run directory (then its newest valid checkpoint).
        seed: Of the search for the best action.
        acting: How it acts (``critic.acting``, or ``cloning.act``); by default as it was trained to.

    Raises:
        CheckpointError: There is no valid checkpoint, or it does not fit its own settings.
        SettingsError: The policy cannot act in this way.
    """
    directory = find_checkpoint(path)
    checkpoint = read_checkpoint(directory)
    model = build_model(checkpoint.spec, checkpoint.statistics, checkpoint.settings)
    load_weights(model, checkpoint.state.weights, where=str(directory))
    policy = CheckpointPolicy(model, checkpoint.metadata, seed=seed)
    if acting is not None:
        policy.act_by(acting)
    return policy


def _checkpoint_dirs(run_dir: Path) -> list[Path]:
    """Newest first."""
    found = [(int(match[1]), path) for path in run_dir.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _read_description(directory: Path, data: bytes) -> dict[str, Any]:
    description = json.loads(data)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{directory / _DESCRIPTION}: not an am-ray checkpoint; expected format {FORMAT!r}.")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory / _DESCRIPTION}: format version {version}; this am-ray reads version {FORMAT_VERSION}. "
            f"It was written by am-ray {description.get('am_ray_version')}; use that version."
        )
    return description


def _contiguous(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    # Zero-dimensional arrays keep their shape here; np.ascontiguousarray would make them (1,).
    return {name: np.require(value, requirements="C") for name, value in arrays.items()}
