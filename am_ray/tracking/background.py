"""A sender beside a command, for as long as the command runs."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import am_ray
from am_ray.tracking.delivery_state import unsent_records
from am_ray.tracking.spool import find_folders
from am_ray.tracking.target import Target, resolve_target

logger = logging.getLogger(__name__)

# A sender ends by itself before that; see its limits.
_MAX_WAIT_S = 65.0


@contextmanager
def sending(root: Path, *, uri: str | None = None, patience_s: float = 20.0) -> Iterator[None]:
    """Every spool below ``root``, those that are still to come too, is sent to MLflow while the block runs.

    At its end the sender has ``patience_s`` to send what is left, and a minute while it gets on with it.

    Args:
        root: Folder of the run or study; need not exist yet.
        uri: Of MLflow; default: MLFLOW_TRACKING_URI, else an SQLite file in the storage.
        patience_s: See above.

    Raises:
        TrackingError: ``uri`` is of a kind that cannot work.
    """
    target = resolve_target(root, uri)
    process = _started(root, target, patience_s)
    try:
        yield
        _ended(process, root, target)
    except Exception:
        _ended(process, root, target)
        raise
    finally:
        if process is not None:
            process.kill()
            process.communicate()
        report_unsent(root, target)


def report_unsent(root: Path, target: Target) -> None:
    """Says on the log what a target does not have yet, and the command that sends it."""
    counts = [count for folder in find_folders(root) if (count := unsent_records(folder, target))]
    if counts:
        option = "" if target == resolve_target(root, None) else f" --tracking-uri {shlex.quote(target.shown)}"
        logger.warning(
            "tracking: %d records of %d runs are not at %s yet; send them with: am-ray track sync %s%s",
            sum(counts),
            len(counts),
            target.shown,
            shlex.quote(os.fspath(root)),
            option,
        )


def _started(root: Path, target: Target, patience_s: float) -> subprocess.Popen[bytes] | None:
    command = [sys.executable, "-P", "-m", "am_ray.tracking.sender"]
    command += [str(root.absolute()), str(patience_s), str(os.getpid())]
    paths = [str(Path(am_ray.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    # The address travels in the environment: arguments of processes are public, and it may hold a password.
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": target.uri,
        "MLFLOW_EXPERIMENT_NAME": target.experiment,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    try:
        # A session of its own: Ctrl-C is for the command, which saves a checkpoint that is still to be sent.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    except OSError as error:
        logger.warning("tracking: the sender could not be started (%s); the run goes on without it", error)
        return None


def _ended(process: subprocess.Popen[bytes] | None, root: Path, target: Target) -> None:
    """Asks the sender to end, and waits while it has something to send."""
    if process is None or process.stdin is None:
        return
    if not any(unsent_records(folder, target) for folder in find_folders(root)):
        return
    with contextlib.suppress(OSError):
        process.stdin.close()
    ends = time.monotonic() + _MAX_WAIT_S
    while process.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
