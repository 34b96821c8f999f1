"""One process at a time works in a folder. The lock goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from am_ray.types import AmRayError

_POLL_S = 0.2


class FolderInUseError(AmRayError):
    """Another process works in the folder."""


@dataclass(frozen=True)
class HeldFolder:
    """A study's folder while it is this process's; from `study_folder` alone."""

    path: Path


@contextmanager
def study_folder(folder: Path) -> Iterator[HeldFolder]:
    """The study is this process's inside the block: before that nothing of it may be written, tracked or sent.

    What it yields is the ``folder`` of `am_ray.trials.run_trials`, which then takes no lock of its own.

    Raises:
        FolderInUseError: Another process runs this study.
    """
    with locked(folder, wait_s=0.0):
        yield HeldFolder(folder)


@contextmanager
def locked(folder: Path, *, wait_s: float) -> Iterator[None]:
    """The folder is this process's inside the block.

    Args:
        folder: Created if missing; the lock is its file ``.lock``.
        wait_s: How long to wait for another process to let go of it.

    Raises:
        FolderInUseError: It did not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + wait_s
    with (folder / ".lock").open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    raise FolderInUseError(
                        f"{folder}: another process works in it; expected one at a time. Wait for it, or stop it."
                    ) from None
                time.sleep(_POLL_S)
        yield
