"""A study whose driver is killed or told to stop goes on where it was: finished trials are not run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from am_ray.stopping import StopRequest
from am_ray.trials import run_trials
from am_ray.trials.folder_lock import FolderInUseError, locked
from tests.trials.conftest import settings_for, trial_for
from tests.trials.test_engine import ROOT, state_bytes, wait_for

_DRIVER = """
import sys
from pathlib import Path
from am_ray.stopping import StopRequest
from am_ray.trials import run_trials
from tests.trials.test_interrupted import trials_of

stop = StopRequest()
found = run_trials(trials_of(sys.argv[1]), folder=Path(sys.argv[2]), tracked=False, max_concurrent=1, stop=stop)
print([(result.name, result.status) for result in found], stop.signal)
"""


def trials_of(points: str) -> list:
    """One that is done soon, one that takes long, one that waits for its turn."""
    short = settings_for(points)
    long = settings_for(points, seed=1, updates=3000, updates_per_iteration=50, checkpoint_every=500)
    return [trial_for("first", short), trial_for("second", long), trial_for("third", short)]


def driver(points: str, folder: Path, home: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _DRIVER, points, str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_interrupted_drivers_go_on(points: str, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    second = folder / "trials" / "second"
    killed = driver(points, folder, tmp_path)
    wait_for(second / "metrics.jsonl", '"update": 700')
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not (second / "trial.json").exists()
    first = {path: path.stat().st_mtime_ns for path in (folder / "trials" / "first").rglob("*")}
    # Ctrl-C reaches the whole group of processes, Ray's too.
    interrupted = driver(points, folder, tmp_path)
    # From whichever checkpoint was the newest: how far it had come when the kill arrived is the machine's affair.
    wait_for(second / "trial.log", "resumed at update ")
    time.sleep(0.3)
    os.killpg(interrupted.pid, signal.SIGINT)
    out, err = interrupted.communicate(timeout=120)
    assert out.strip() == "[('first', 'completed')] 2", err[-3000:]
    saved = sorted(path.name for path in second.glob("checkpoint-*"))[-1]
    log = (second / "trial.log").read_text()
    assert not (folder / "trials" / "third" / "metrics.jsonl").exists()
    assert not (folder / ".stop").exists()
    done = driver(points, folder, tmp_path)
    out, err = done.communicate(timeout=240)
    assert out.strip() == "[('first', 'completed'), ('second', 'completed'), ('third', 'completed')] None", err[-3000:]
    assert f"resumed at update {int(saved.split('-')[1])}" in (second / "trial.log").read_text()[len(log) :]
    assert {path: path.stat().st_mtime_ns for path in (folder / "trials" / "first").rglob("*")} == first
    updates = [json.loads(line)["update"] for line in (second / "metrics.jsonl").read_text().splitlines()]
    assert updates == sorted(set(updates))
    assert updates[-1] == 3000


@pytest.mark.slow
def test_a_request_stops_a_study_from_within(points: str, tmp_path: Path, local_ray: None) -> None:
    stop = StopRequest()
    short, long, waiting = trials_of(points)
    found = run_trials(
        [short, long, waiting],
        folder=tmp_path,
        tracked=False,
        max_concurrent=1,
        stop=stop,
        on_result=lambda result: stop.request(),
    )
    assert [result.name for result in found] == ["first"]
    whole = run_trials([short, long], folder=tmp_path, tracked=False)
    alone = run_trials([trial_for("alone", long.settings)], folder=tmp_path / "other", tracked=False)
    assert state_bytes(whole[1]) == state_bytes(alone[0])


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(FolderInUseError, match="another process works in it")
    with locked(tmp_path / "study", wait_s=0.0), refused:
        run_trials([trial_for("a", settings_for("data"))], folder=tmp_path / "study", tracked=False)
    code = "import sys; from pathlib import Path; from am_ray.trials.folder_lock import locked\n"
    code += "with locked(Path(sys.argv[1]), wait_s=0.0): print('mine', flush=True); import time; time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(FolderInUseError), locked(tmp_path, wait_s=0.0):
        pass
    holder.kill()
    holder.communicate()
    with locked(tmp_path, wait_s=5.0):
        pass
