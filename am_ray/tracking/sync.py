"""Sending what a sender left behind."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from am_ray.tracking.delivery import BusyError, Delivery
from am_ray.tracking.delivery_state import load_state, unsent_records
from am_ray.tracking.mlflow_store import MlflowStore, RunDeletedError
from am_ray.tracking.sender import store_lock
from am_ray.tracking.spool import find_folders, run_record
from am_ray.tracking.target import Target, TrackingError, resolve_target

logger = logging.getLogger(__name__)

# Seconds before the attempts after a failed one.
_PAUSES_S = (1.0, 3.0)


@dataclass(frozen=True)
class FolderStatus:
    """A spool and one target.

    Attributes:
        folder: Of the run.
        name: Of the run.
        run_id: MLflow's; empty if it has none yet.
        sent: Records that the target has, or ``refused``: can never have.
        refused: See above.
        unsent: Records that are left.
    """

    folder: Path
    name: str
    run_id: str
    sent: int
    refused: int
    unsent: int


def status(root: Path, uri: str | None = None) -> tuple[Target, list[FolderStatus]]:
    """How every spool below ``root`` stands with MLflow; no network is used.

    Raises:
        TrackingError: There is none, or the address cannot work.
    """
    target, found = resolve_target(root, uri), []
    for folder in _folders(root):
        record, state = run_record(folder), load_state(folder, target)
        if record is not None and state is not None:
            left = unsent_records(folder, target)
            found.append(FolderStatus(folder, record["name"], state.run_id, state.sent, state.refused, left))
    return target, found


def sync(root: Path, uri: str | None = None) -> tuple[int, str]:
    """Sends everything below ``root`` that MLflow does not have; runs that it lost are sent again.

    Returns:
        Records sent by this call, and why some were not (empty: all were).

    Raises:
        TrackingError: There is nothing, or the address cannot work.
    """
    target, folders = resolve_target(root, uri), _folders(root)
    sent, problem, deleted, delivery = 0, "", "", None
    for pause_s in (*_PAUSES_S, 0.0):
        try:
            delivery = delivery or Delivery(MlflowStore(target), target)
            while folders:
                try:
                    with store_lock(target):
                        sent += delivery.deliver(folders[0], verify=True)
                except RunDeletedError as error:
                    deleted = f"{folders[0]}: {error}"
                folders.pop(0)
            return sent, deleted
        except BusyError as error:
            problem = f"{error}: another process is sending it"
        except Exception as error:
            problem = " ".join(str(error).split()).replace(target.uri, target.shown)[:500]
        time.sleep(pause_s)
    return sent, problem


def _folders(root: Path) -> list[Path]:
    folders = find_folders(root)
    if not folders:
        raise TrackingError(
            f"{root}: no run below it was tracked; expected a run, a study, or a folder of them (runs). Check the path."
        )
    return folders
