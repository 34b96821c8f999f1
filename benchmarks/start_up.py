"""Seconds from a command to what its user waits for.

`first_update_s`: ``am-ray pretrain --dataset ...`` started, to its first update done. A small state dataset, which is resident,
so that no Ray cluster is started; default networks and batch; MLflow tracking on, as it is by default; a storage folder that is
new each time, so that the MLflow database is made too. An iteration is one update, and the update counts as done when its line
is in ``metrics.jsonl``, looked for every 5 ms. The command runs on to its own end before the next.

`help_s`: ``am-ray --help``, whole. `import_s`: ``python -c "import am_ray"`` less a ``python -c pass`` timed beside it.

Everything runs once beforehand without counting: packages come from the file cache. Nothing else does: each time is a new process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Measurement, main, median_of
from benchmarks.worlds import state_data

COMMAND = str(Path(sys.executable).with_name("am-ray"))
POLL_S = 0.005
TIMEOUT_S = 120.0


def first_update(dataset: Path) -> float:
    """Seconds to the first update of a run of one update."""
    with tempfile.TemporaryDirectory() as storage:
        command = [COMMAND, "pretrain", "--dataset", str(dataset), "--storage", storage, "--run-name", "run"]
        settings = ("training.updates=1", "training.updates_per_iteration=1")
        metrics = Path(storage) / "run" / "metrics.jsonl"
        began = time.perf_counter()
        with _started([*command, *(part for each in settings for part in ("--set", each))]) as process:
            seconds = _until_line(metrics, process, began)
            _, messages = process.communicate(timeout=TIMEOUT_S)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{messages.decode()[-2000:]}")
        return seconds


def _until_line(path: Path, process: subprocess.Popen[bytes], began: float) -> float:
    while not (path.is_file() and path.stat().st_size):
        if process.poll() is not None or time.perf_counter() - began > TIMEOUT_S:
            process.kill()
            raise RuntimeError(f"no update was done\n{process.communicate()[1].decode()[-2000:]}")
        time.sleep(POLL_S)
    return time.perf_counter() - began


def seconds_of(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_environment())
    return time.perf_counter() - began


def import_seconds() -> float:
    bare = seconds_of(sys.executable, "-c", "pass")
    return seconds_of(sys.executable, "-c", "import am_ray") - bare


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment())


def _environment() -> dict[str, str]:
    """A user's: MLflow goes to the storage folder, not to a server that this shell names."""
    return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}


def measure(quick: bool) -> dict[str, Measurement]:
    dataset, repeats = state_data(episodes=200), 3 if quick else 5
    first_update(dataset)
    updates = median_of(
        [first_update(dataset) for _ in range(repeats)], "resident, default networks, MLflow in the background"
    )
    seconds_of(COMMAND, "--help"), import_seconds()
    texts = median_of([seconds_of(COMMAND, "--help") for _ in range(2 * repeats)], "whole process")
    imports = median_of([import_seconds() for _ in range(2 * repeats)], "beyond 'python -c pass'")
    return {"first_update_s": updates, "help_s": texts, "import_s": imports}


if __name__ == "__main__":
    main(measure, __doc__)
