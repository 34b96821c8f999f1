"""The spool: JSON records, one a line, only ever appended; what a kill left half written is dropped.

Record types: ``run`` (the first one: key, name, stage, parent, tags), ``reopen``, ``tags``, ``params``, ``metrics``, ``text``,
``artifact``, ``dataset``, ``checkpoint``, ``best``, ``end``. Each has ``time``, milliseconds since 1970 at which it was
written: a record that is sent twice is then the same point twice, which MLflow keeps once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "tracking"
SPOOL = "spool.jsonl"
Record = dict[str, Any]
# Folders below a run that hold no runs, and may hold many files.
_NO_RUNS = ("checkpoint-", ".", "mlartifacts", FOLDER)


@dataclass(frozen=True)
class Entry:
    """A line of a spool: its record, or None if it is no whole record, and the byte after it."""

    record: Record | None
    end: int


def spool_path(folder: Path) -> Path:
    return folder / FOLDER / SPOOL


def absolute(path: Path) -> Path:
    """Without ``..``, but with the symbolic links that the user wrote."""
    return Path(os.path.normpath(path.absolute()))


def append(path: Path, record: Record) -> None:
    """Adds a record as one write of one line; behind a line that a kill cut short, on a new one.

    Raises:
        OSError: The disk is full, the folder is gone, ...
    """
    line = json.dumps(record, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{path}: a record was written in part")
    finally:
        os.close(descriptor)


def read_entries(path: Path, start: int = 0) -> Iterator[Entry]:
    """The whole lines from byte ``start`` on; a last line without its end is still being written, or torn."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            end = start
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield Entry(_record(line), end)
    except FileNotFoundError:
        return


def run_record(folder: Path) -> Record | None:
    """The record that a folder's spool begins with, or None where there is no spool."""
    for entry in read_entries(spool_path(folder)):
        if entry.record is not None and entry.record["type"] == "run":
            return entry.record
    return None


def find_folders(root: Path) -> list[Path]:
    """``root`` and the folders below it that have a spool, parents before children."""
    found = []
    for directory, names, _ in os.walk(root):
        folder = Path(directory)
        if spool_path(folder).exists():
            found.append(folder)
        names[:] = sorted(name for name in names if not name.startswith(_NO_RUNS))
    return found


def parent_folder(folder: Path, record: Record) -> Path | None:
    """Folder of the run that ``record``, the first of ``folder``'s spool, names as its parent."""
    parent = record.get("parent")
    return None if parent is None else Path(os.path.normpath(folder / str(parent)))


def top_folder(folder: Path) -> Path:
    """Folder of the topmost run above ``folder``: a trial's study; ``folder`` itself if it has no parent."""
    for _ in range(8):
        record = run_record(folder)
        parent = None if record is None else parent_folder(folder, record)
        if parent is None:
            break
        folder = parent
    return folder


def _record(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "type" in record and "time" in record else None
