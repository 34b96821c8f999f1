"""How far one MLflow has a spool, kept beside it, so that any later process goes on from there."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from am_ray.tracking.spool import FOLDER, read_entries, run_record, spool_path
from am_ray.tracking.target import Target

logger = logging.getLogger(__name__)


@dataclass
class DeliveryState:
    """Progress of one spool with one target.

    Attributes:
        key: Of the run, as its spool has it; a state of another key is void.
        target: For people.
        offset: Bytes of the spool that are done with.
        run_id: MLflow's, once the run exists there.
        sent: Records that were taken.
        refused: Records that MLflow can never take, or whose file is gone.
    """

    key: str
    target: str
    offset: int = 0
    run_id: str = ""
    sent: int = 0
    refused: int = 0

    def save(self, folder: Path, target: Target) -> None:
        """Whole or not at all."""
        path = state_path(folder, target)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)


def state_path(folder: Path, target: Target) -> Path:
    return folder / FOLDER / f"sent-{target.digest}.json"


def load_state(folder: Path, target: Target) -> DeliveryState | None:
    """The state of ``folder``'s spool, a fresh one if nothing was sent; None where no run has begun."""
    record = run_record(folder)
    if record is None:
        return None
    key = str(record["key"])
    try:
        state = DeliveryState(**json.loads(state_path(folder, target).read_text()))
    except (OSError, ValueError, TypeError):
        return DeliveryState(key, target.shown)
    return state if state.key == key else DeliveryState(key, target.shown)


def unsent_records(folder: Path, target: Target) -> int:
    """Records of a spool that the target does not have yet."""
    state = load_state(folder, target)
    start = 0 if state is None else state.offset
    return sum(entry.record is not None for entry in read_entries(spool_path(folder), start))


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds a lock between processes; yields False if another one holds it and ``wait`` is off. Dies with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
