"""Directories of hashed files: what was written is what is read, or a refusal that says which file and why."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from am_ray.types import CheckpointError

MANIFEST = "manifest.json"
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")
_ADVICE = "Use an older checkpoint of the run; giving the run's directory picks the newest valid one."


def write_hashed_files(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Writes the files, then a manifest with the size and sha256 of each: without it the directory counts as torn."""
    entries = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()
    }
    for name, data in contents.items():
        _write_file(directory / name, data)
    _write_file(directory / MANIFEST, json.dumps({"files": entries}, indent=1).encode())
    sync_directory(directory)


def read_hashed_files(directory: Path, names: Collection[str]) -> dict[str, bytes]:
    """Reads the files ``names``, which must be what the manifest lists.

    Raises:
        CheckpointError: The manifest or a file is missing or differs, or the directory holds a pickle.
    """
    refuse_pickles(directory)
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        entries = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{directory}: no {MANIFEST}, so saving never finished; expected one. {_ADVICE}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory / MANIFEST}: not a readable manifest ({error!r}). {_ADVICE}") from error
    if set(entries) != set(names):
        raise CheckpointError(f"{directory / MANIFEST}: lists {sorted(entries)}; expected {sorted(names)}. {_ADVICE}")
    return {name: _read_file(directory / name, size, sha256) for name, (size, sha256) in entries.items()}


def refuse_pickles(directory: Path) -> None:
    """Raises CheckpointError if the directory holds a file that only unpickling could read."""
    pickles = sorted(path.name for path in directory.glob("*") if path.suffix in _PICKLES)
    if pickles:
        raise CheckpointError(
            f"{directory}: holds {', '.join(pickles)}; expected safetensors and JSON only. am-ray never unpickles "
            f"a checkpoint: a pickle can run any code. Remove the file if you know where it came from."
        )


def sync_directory(directory: Path) -> None:
    """Makes renames in the directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _read_file(path: Path, size: int, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); expected {size} bytes. {_ADVICE}") from error
    found = hashlib.sha256(data).hexdigest()
    if len(data) != size or found != sha256:
        raise CheckpointError(
            f"{path}: {len(data)} bytes with sha256 {found[:12]}; expected {size} bytes with {sha256[:12]}. {_ADVICE}"
        )
    return data
