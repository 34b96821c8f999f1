"""A sender beside a driver, against a real server that is dead, dies, is slow, fails or forgets to answer."""

from __future__ import annotations

import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from am_ray.tracking import RunTracker, TrackingError, sending
from am_ray.tracking.sync import status, sync

from .conftest import Mlflow, Proxy, Server, eventually, free_port, once, write_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def senders(root: Path) -> list[int]:
    """Processes that send what is below ``root``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if b"am_ray.tracking.sender" in words and str(root).encode() in words:
            found.append(int(entry.name))
    return found


def unsent(root: Path, uri: str) -> int:
    return sum(each.unsent for each in status(root, uri)[1])


def test_a_run_arrives_while_it_goes_on(server: Server, tmp_path: Path) -> None:
    folder, mlflow = tmp_path / "goes-on", Mlflow(server.uri)
    with sending(folder, uri=server.uri):
        assert not folder.exists()
        tracker = write_run(folder, steps=range(5), end=False)
        eventually(lambda: mlflow.runs(**{"mlflow.runName": "goes-on"}))
        eventually(lambda: mlflow.counts("goes-on") == once(range(5)))
        assert mlflow.run("goes-on").info.status == "RUNNING"
        tracker.end("FINISHED")
    assert mlflow.run("goes-on").info.status == "FINISHED"
    assert senders(folder) == [] and unsent(folder, server.uri) == 0


def test_a_server_that_is_dead_from_the_start(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.kill()
    folder = tmp_path / "dead-at-start"
    started = time.monotonic()
    with caplog.at_level(logging.WARNING), sending(folder, uri=server.uri, patience_s=3):
        write_run(folder)
        assert time.monotonic() - started < 2
    assert time.monotonic() - started < 20
    assert senders(folder) == []
    command = re.search(r"13 records of 1 runs are not at .* yet; send them with: am-ray (track sync .*)", caplog.text)
    assert command is not None
    server.start()
    again = subprocess.run(
        [sys.executable, "-m", "am_ray.cli.main", *command[1].split()], capture_output=True, text=True, timeout=100
    )
    assert again.returncode == 0 and "13 records sent" in again.stdout, again.stderr
    assert Mlflow(server.uri).counts("dead-at-start") == once(range(10))


def test_a_server_that_dies_and_comes_back(server: Server, tmp_path: Path) -> None:
    folder, mlflow = tmp_path / "dies", Mlflow(server.uri)
    with sending(folder, uri=server.uri, patience_s=60):
        write_run(folder, steps=range(5), end=False)
        eventually(lambda: mlflow.runs(**{"mlflow.runName": "dies"}))
        run_id = mlflow.run("dies").info.run_id
        server.kill()
        write_run(folder, steps=range(5, 10), end=False)
        time.sleep(3)
        assert unsent(folder, server.uri) > 0
        server.start()
        write_run(folder, steps=range(10, 12))
    assert mlflow.counts("dies") == once(range(12))
    assert (mlflow.run("dies").info.run_id, mlflow.run("dies").info.status) == (run_id, "FINISHED")


def test_a_server_that_takes_ten_seconds(proxy: Proxy, tmp_path: Path) -> None:
    folder = tmp_path / "slow"
    proxy.fault = lambda number, path: "slow"
    started = time.monotonic()
    with sending(folder, uri=proxy.uri, patience_s=2):
        write_run(folder)
        assert time.monotonic() - started < 2
        eventually(lambda: proxy.requests)
    assert time.monotonic() - started < 60
    assert senders(folder) == [] and unsent(folder, proxy.uri) > 0
    proxy.fault = lambda number, path: ""
    assert sync(folder, proxy.uri)[1] == ""
    assert Mlflow(proxy.uri).counts("slow") == once(range(10))


def test_a_server_that_fails(server: Server, proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first requests, then every second one on average."""
    folder, rng = tmp_path / "fails", random.Random(0)
    proxy.fault = lambda number, path: "500" if number < 3 or rng.random() < 0.5 else ""
    with sending(folder, uri=proxy.uri, patience_s=30):
        write_run(folder, steps=range(6), end=False)
        eventually(lambda: proxy.requests > 4)
        write_run(folder, steps=range(6, 10))
    assert unsent(folder, proxy.uri) == 0
    assert Mlflow(server.uri).counts("fails") == once(range(10))
    shown = capfd.readouterr().err
    assert "does not take records" in shown and "takes records again" in shown


def test_answers_that_are_lost_double_nothing(proxy: Proxy, tmp_path: Path) -> None:
    """Every kind of request is done the first time without the sender learning of it."""
    folder, seen = tmp_path / "lost", Counter[str]()
    directory = folder / "checkpoint-000000009"
    directory.mkdir(parents=True)
    (directory / "weights").write_text("w")

    def lose_the_first(number: int, path: str) -> str:
        path = re.sub(r"[0-9a-f]{32}|\?.*", "", path)
        seen[path] += 1
        return "lost" if seen[path] == 1 else ""

    proxy.fault = lose_the_first
    with sending(folder, uri=proxy.uri, patience_s=60):
        tracker = write_run(folder, end=False)
        tracker.dataset(name="d", digest="1", source="/d", context="training")
        tracker.checkpoint(directory, step=9, metrics={"critic/td_loss": 0.1})
        tracker.best_checkpoint(directory, metric="eval/success_rate", value=0.5)
        tracker.end("FINISHED")
    proxy.fault = lambda number, path: ""
    mlflow = Mlflow(proxy.uri)
    run = mlflow.run("lost")
    assert mlflow.counts("lost") == once(range(10)) | {"best/eval/success_rate": Counter([0])}
    assert len(mlflow.models(run)) == len(run.inputs.dataset_inputs) == 1
    assert len(mlflow.client.search_model_versions("name = 'am-ray-lost'")) == 1
    assert sum(1 for count in seen.values() if count > 1) >= 8
    assert unsent(folder, proxy.uri) == 0


_DRIVER = """
import os, signal, sys, time
from pathlib import Path
from am_ray.tracking import RunTracker, sending
folder, uri = Path(sys.argv[1]), sys.argv[2]
with sending(folder, uri=uri, patience_s=10):
    tracker = RunTracker.open(folder, name=folder.name, stage="sweep", tags={"arm": "scratch"})
    for step in range(10_000):
        tracker.metrics({"critic/td_loss": 1.0 / (step + 1), "time/updates_per_s": 7.0}, step=step)
        print(step, flush=True)
        time.sleep(0.05)
"""


def test_a_driver_that_is_killed(server: Server, tmp_path: Path) -> None:
    folder, mlflow = tmp_path / "killed", Mlflow(server.uri)
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(folder), server.uri], stdout=subprocess.PIPE, text=True
    )
    try:
        eventually(lambda: mlflow.runs(**{"mlflow.runName": "killed"}))
        assert senders(folder)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    eventually(lambda: not senders(folder), 40)
    # The sender has sent the rest, and said that the run does not go on.
    assert unsent(folder, server.uri) == 0
    assert mlflow.run("killed").info.status == "KILLED"
    last = max(mlflow.counts("killed")["critic/td_loss"])
    run_id = mlflow.run("killed").info.run_id
    write_run(folder, steps=range(last - 3, last + 5))
    assert sync(folder, server.uri)[1] == ""
    assert mlflow.counts("killed") == once(range(last + 5))
    assert (mlflow.run("killed").info.run_id, mlflow.run("killed").info.status) == (run_id, "FINISHED")


def test_a_driver_that_is_killed_while_the_server_is_dead(server: Server, tmp_path: Path) -> None:
    folder, uri = tmp_path / "killed-alone", f"http://127.0.0.1:{free_port()}"
    driver = subprocess.Popen([sys.executable, "-c", _DRIVER, str(folder), uri], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        while int(driver.stdout.readline()) < 20:
            pass
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    eventually(lambda: not senders(folder), 40)
    assert sync(folder, server.uri)[1] == ""
    counts = Mlflow(server.uri).counts("killed-alone")
    assert counts == once(range(max(counts["critic/td_loss"]) + 1)) and len(counts["critic/td_loss"]) > 20


def test_a_sender_that_is_killed(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, mlflow = tmp_path / "no-sender", Mlflow(server.uri)
    with caplog.at_level(logging.WARNING), sending(folder, uri=server.uri):
        write_run(folder, steps=range(5), end=False)
        eventually(lambda: mlflow.runs(**{"mlflow.runName": "no-sender"}))
        for process in senders(folder):
            os.kill(process, signal.SIGKILL)
        write_run(folder, steps=range(4, 10))
    assert "track sync" in caplog.text
    assert sync(folder, server.uri)[1] == ""
    assert mlflow.counts("no-sender") == once(range(10))


def test_twenty_trials_into_one_file(storage: Path, mlflow: Mlflow) -> None:
    study = storage / "study"
    with sending(study, patience_s=60):
        top = RunTracker.open(study, name="study", stage="sweep")
        top.tags({"a": "b"})
        trackers = [write_run(study / "trials" / f"t{i}", parent=study, end=False) for i in range(20)]
        for step in range(10, 20):
            for tracker in trackers:
                tracker.metrics({"critic/td_loss": 1.0, "time/updates_per_s": 7.0}, step=step)
            time.sleep(0.1)
        for tracker in (*trackers, top):
            tracker.end("FINISHED")
    parent = mlflow.run("study").info.run_id
    children = mlflow.runs(**{"mlflow.parentRunId": parent})
    assert sorted(run.info.run_name for run in children) == sorted(f"t{i}" for i in range(20))
    assert {run.info.status for run in children} == {"FINISHED"}
    assert all(mlflow.counts(f"t{i}") == once(range(20)) for i in range(20))


def test_two_commands_at_once_into_one_file(storage: Path, mlflow: Mlflow) -> None:
    with sending(storage / "a", patience_s=60), sending(storage / "b", patience_s=60), sending(storage, patience_s=60):
        for steps in (range(5), range(5, 10)):
            for name in ("a", "b"):
                write_run(storage / name, steps=steps)
            time.sleep(2)
    assert mlflow.counts("a") == mlflow.counts("b") == once(range(10))


def test_an_error_in_the_block_is_passed_on_and_what_was_written_is_sent(storage: Path, mlflow: Mlflow) -> None:
    with pytest.raises(ZeroDivisionError), sending(storage / "a"):
        write_run(storage / "a")
        raise ZeroDivisionError
    assert mlflow.counts("a") == once(range(10))
    with pytest.raises(KeyboardInterrupt), sending(storage / "b"):
        write_run(storage / "b")
        raise KeyboardInterrupt
    assert senders(storage / "a") == senders(storage / "b") == []
    with pytest.raises(TrackingError), sending(storage / "c", uri="./mlruns"):
        raise AssertionError("the block ran")
