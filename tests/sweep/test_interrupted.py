"""``am-ray sweep``, tracked: killed with its trial and told to stop in the middle of a trial, it goes on in the same MLflow runs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from am_ray.settings_reader import to_mapping
from am_ray.tracking.spool import spool_path
from tests.trials.conftest import WORLD, settings_for, write_points
from tests.trials.test_engine import ROOT, pids_of, wait_for

TRIAL = "seed=0"


def sweep(folder: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    environment = kept | {"HOME": str(folder), "PYTHONPATH": f"{ROOT}{os.pathsep}{WORLD}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "am_ray", "sweep", "config.yaml", "--json"]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def runs_of(storage: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("am-ray")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(found) == len(runs)
    return runs


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120.0
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def is_known(storage: Path) -> bool:
    """Whether MLflow has the trial's run; read without MLflow, which would write to the sender's database."""
    try:
        with closing(sqlite3.connect(f"file:{storage / 'mlflow.db'}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT 1 FROM runs WHERE name = ?", (TRIAL,)).fetchall())
    except sqlite3.OperationalError:
        return False


def is_between_checkpoints(trial: Path) -> bool:
    """Whether updates have been done that a kill now will have done again."""
    lines = (trial / "metrics.jsonl").read_text().splitlines(keepends=True)
    whole = [json.loads(line)["update"] for line in lines if line.endswith("\n")]
    return whole[-1] > 600 and 150 <= whole[-1] % 500 <= 300


def has_sender(folder: Path) -> bool:
    """Whether the sender of a killed driver, which ends by itself, still runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"am_ray.tracking.sender" in words and any(word.startswith(bytes(folder)) for word in words):
                return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, about how MLflow calls it
def test_a_killed_and_a_stopped_sweep_go_on_in_the_same_mlflow_runs(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    points = write_points(tmp_path / "points")
    run = settings_for(points, updates=6000, updates_per_iteration=50, checkpoint_every=500)
    mapping = to_mapping(run) | {
        "evaluation": {"episodes": 2, "max_steps": 5, "every": 2000},
        "sweep": {"search": {"seed": {"grid_search": [0]}}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(mapping))
    folder = tmp_path / "runs" / "config"
    trial = folder / "trials" / TRIAL
    killed = sweep(tmp_path)
    wait_for(trial / "metrics.jsonl", '"update": 600')
    wait_until(lambda: is_known(tmp_path / "runs"))
    pids = list(pids_of(trial))
    wait_until(lambda: is_between_checkpoints(trial))
    # The trial would outlive the driver by some seconds, perhaps up to its next checkpoint.
    for pid in [killed.pid, *pids]:
        os.kill(pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    wait_until(lambda: not has_sender(folder))
    before = {name: run.info.run_id for name, run in runs_of(tmp_path / "runs").items()}
    assert before.keys() == {"config", TRIAL}
    # Told to stop, it saves a checkpoint and ends with the signal's status.
    stopped = sweep(tmp_path)
    wait_for(trial / "trial.log", "resumed at update")
    time.sleep(1.0)
    stopped.send_signal(signal.SIGTERM)
    out, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 143, err[-3000:]
    assert (json.loads(out)["stopped_by"], json.loads(out)["trials"]) == (15, [])
    assert {run.info.status for run in runs_of(tmp_path / "runs").values()} == {"KILLED"}
    done = sweep(tmp_path)
    out, err = done.communicate(timeout=240)
    assert done.returncode == 0, err[-3000:]
    runs = runs_of(tmp_path / "runs")
    assert {name: run.info.run_id for name, run in runs.items()} == before
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[TRIAL].data.tags["mlflow.parentRunId"] == before["config"]
    # Some updates were done twice, and said twice.
    records = [json.loads(line) for line in spool_path(trial).read_text().splitlines()]
    said = [r["step"] for r in records if r["type"] == "metrics" and "critic/td_loss" in r["values"]]
    assert len(said) > len(set(said))
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    curve = client.get_metric_history(before[TRIAL], "critic/td_loss")
    assert [point.step for point in curve] == list(range(50, 6001, 50))
    rates = client.get_metric_history(before[TRIAL], "eval/success_rate")
    assert [point.step for point in rates] == [2000, 4000, 6000]
