"""``am-ray track`` and ``am-ray ui``, and that ``am-ray pretrain`` logs unless told not to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from am_ray.tracking import RunTracker
from am_ray.tracking.spool import FOLDER

from .conftest import AmRay

TINY = ["--set", "algorithm.model.width=8", "--set", "algorithm.model.head_width=8", "--set", "algorithm.model.depth=1"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("a", "b"):
        tracker = RunTracker.open(tmp_path / "runs" / name, name=name, stage="pretrain")
        tracker.metrics({"critic/td_loss": 1.0}, step=1)
    return tmp_path / "runs"


def test_status_counts_what_is_unsent(am_ray: AmRay, runs: Path) -> None:
    found = am_ray("track", "status", runs, "--json")
    assert found.code == 1
    assert found.json["tracking_uri"] == f"sqlite:///{runs}/mlflow.db" and found.json["unsent"] == 4
    assert [(run["name"], run["sent"], run["unsent"]) for run in found.json["runs"]] == [("a", 0, 2), ("b", 0, 2)]
    text = am_ray("track", "status", runs / "a", "--tracking-uri", "http://me:word@host:1").stdout
    assert "http://me:***@host:1" in text and "2 records are unsent" in text
    assert not (runs / "mlflow.db").exists()


def test_refusals(am_ray: AmRay, runs: Path, tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "empty").mkdir()
    for action in ("sync", "status"):
        refused = am_ray("track", action, tmp_path / "empty")
        assert refused.code == 2 and "no run below it was tracked" in refused.stderr
    refused = am_ray("track", "sync", runs, "--tracking-uri", "./mlruns")
    assert refused.code == 2 and "expected http://HOST:PORT" in refused.stderr
    options = ["--dataset", dataset, "--storage", tmp_path / "new", "--tracking-uri", "file:///x"]
    assert am_ray("pretrain", *options).code == 2 and not (tmp_path / "new").exists()
    refused = am_ray("ui", "--storage", tmp_path / "empty")
    assert refused.code == 2 and "no runs have been logged here" in refused.stderr
    refused = am_ray("ui", "--tracking-uri", "http://host:5000")
    assert refused.code == 2 and "is a server already" in refused.stderr


def test_a_file_of_a_study_serves_pretrain(am_ray: AmRay, tmp_path: Path) -> None:
    from am_ray.cli.pretrain import read_config
    from am_ray.settings import PretrainSettings

    path = tmp_path / "config.yaml"
    path.write_text("dataset: a\nsweep: {num_samples: 3}\nevaluation: {episodes: 5}\n")
    settings = read_config(str(path), None, ["finetune.seeds=[4]"])
    assert type(settings) is PretrainSettings and settings == PretrainSettings(dataset="a")
    path.write_text("dataset: a\nsweep: {num_sample: 3}\n")
    refused = am_ray("pretrain", path, "--storage", tmp_path / "runs")
    assert refused.code == 2 and "Did you mean sweep.num_samples?" in refused.stderr


def test_pretrain_logs_nothing_if_told_so(am_ray: AmRay, dataset: Path, tmp_path: Path) -> None:
    options = ["--dataset", dataset, "--storage", tmp_path / "runs", "--run-name", "x", "--smoke-test", *TINY]
    assert am_ray("pretrain", *options, "--no-tracking").code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["x"]
    assert not (tmp_path / "runs" / "x" / FOLDER).exists()


@pytest.mark.slow
def test_sync_says_what_went_wrong(am_ray: AmRay, runs: Path) -> None:
    found = am_ray("track", "sync", runs, "--tracking-uri", f"http://127.0.0.1:{free_port()}", "--json")
    assert (found.code, found.json["sent_now"], found.json["unsent"]) == (1, 0, 4)
    assert "127.0.0.1" in found.json["problem"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_from_training_to_the_browser(am_ray: AmRay, dataset: Path, tmp_path: Path) -> None:
    runs, port = tmp_path / "runs", free_port()
    options = ["--dataset", dataset, "--storage", runs, "--run-name", "x", "--smoke-test", *TINY]
    assert am_ray("pretrain", *options).code == 0
    if am_ray("track", "status", runs).code == 1:  # a busy machine makes the tables more slowly than it trains
        assert am_ray("track", "sync", runs).code == 0
    status = am_ray("track", "status", runs, "--json")
    assert (status.code, status.json["unsent"]) == (0, 0)
    command = [sys.executable, "-m", "am_ray.cli.main", "ui", "--storage", str(runs), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        base, ends = f"http://127.0.0.1:{port}", time.monotonic() + 150
        while not answer(f"{base}/health"):
            assert process.poll() is None and time.monotonic() < ends
            time.sleep(0.5)
        run_id = status.json["runs"][0]["run_id"]
        run = json.loads(answer(f"{base}/api/2.0/mlflow/runs/get?run_id={run_id}"))["run"]
        assert run["info"]["run_name"] == "x" and run["info"]["status"] == "FINISHED"
        serving = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and port_of(entry, port)]
        assert len(serving) >= 2
    finally:
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    assert process.returncode == 130 and base in shown
    assert [entry for entry in serving if entry.exists() and port_of(entry, port)] == []


def answer(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return bytes(response.read())
    except OSError:
        return b""


def port_of(entry: Path, port: int) -> bool:
    """Whether a process was started with that port."""
    try:
        return str(port).encode() in (entry / "cmdline").read_bytes().split(b"\0") and int(entry.name) != os.getpid()
    except OSError:
        return False
