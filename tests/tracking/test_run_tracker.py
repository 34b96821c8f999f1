"""Runs write files: whole lines, the same run after a kill, nothing that training could feel."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from am_ray.tracking import RunTracker
from am_ray.tracking.redaction import HIDDEN, flat_texts, key_name
from am_ray.tracking.spool import append, find_folders, parent_folder, read_entries, run_record, spool_path, top_folder

from .conftest import write_run


def records(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    found = [entry.record for entry in read_entries(spool_path(folder)) if entry.record is not None]
    return [record for record in found if kind in (None, record["type"])]


def test_a_run_is_a_list_of_timed_records(tmp_path: Path) -> None:
    before = time.time_ns() // 1_000_000
    tracker = RunTracker.open(tmp_path / "a", name="a", stage="pretrain", tags={"seed": "3"})
    tracker.params({"x": {"y": 1, "z": [1.5, None]}, "text": "t", "none": {}})
    tracker.metrics({"critic/a": 1, "critic/nan": float("nan"), "critic/inf": float("inf")}, step=4)
    tracker.metrics({"critic/nan": float("nan")}, step=5)
    tracker.end("KILLED")
    header, params, metrics, end = records(tmp_path / "a")
    assert (header["type"], header["name"], header["stage"], header["tags"]["seed"]) == ("run", "a", "pretrain", "3")
    assert params["values"] == {"x.y": "1", "x.z": "[1.5, null]", "text": "t", "none": "{}"}
    assert (metrics["step"], metrics["values"]) == (4, {"critic/a": 1.0})
    assert end["status"] == "KILLED"
    times = [record["time"] for record in records(tmp_path / "a")]
    assert before <= times[0] and times == sorted(times) and times[-1] <= time.time_ns() // 1_000_000


def test_the_code_that_ran_is_named(tmp_path: Path) -> None:
    RunTracker.open(tmp_path, name="a", stage="pretrain").end("FINISHED")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True)
    commit = records(tmp_path)[0]["tags"].get("git.commit", "")
    assert commit.removesuffix("-dirty") == (found.stdout.strip() if found.returncode == 0 else "")


def test_the_ray_job_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "raysubmit_7"}}')
    RunTracker.open(tmp_path, name="a", stage="pretrain").end("FINISHED")
    assert records(tmp_path)[0]["tags"]["ray.job_id"] == "raysubmit_7"


def test_nothing_is_written_before_there_is_something_to_say(tmp_path: Path) -> None:
    RunTracker.open(tmp_path / "a", name="a", stage="pretrain")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_opened_again_goes_on_with_its_run(tmp_path: Path) -> None:
    write_run(tmp_path)
    long = "x" * 7000
    first = RunTracker.open(tmp_path, name="a", stage="sweep")
    first.dataset(name="d", digest="1", source="/d", context="training")
    first.params({"long": long})
    again = RunTracker.open(tmp_path, name="a", stage="sweep", tags={"seed": "4"})
    again.params({"training": {"updates": 10}, "dataset": "moved", "long": long, "new": 1})
    again.dataset(name="d", digest="1", source="/d", context="training")
    again.dataset(name="d", digest="2", source="/d", context="training")
    key = records(tmp_path, "run")[0]["key"]
    assert [record["key"] for record in records(tmp_path, "reopen")] == [key, key]
    assert records(tmp_path, "reopen")[1]["tags"]["seed"] == "4"
    assert len(records(tmp_path, "run")) == len(records(tmp_path, "text")) == 1
    assert [record["values"] for record in records(tmp_path, "params")][2:] == [{"new": "1"}]
    assert records(tmp_path, "tags")[0]["values"] == {"changed.dataset": "moved"}
    assert [record["digest"] for record in records(tmp_path, "dataset")] == ["1", "2"]


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_next_is_whole(tmp_path: Path) -> None:
    write_run(tmp_path, steps=range(3), end=False)
    path = spool_path(tmp_path)
    whole = len(records(tmp_path))
    with path.open("ab") as stream:
        stream.write(b'{"type":"metrics","time":1,"st')
    assert len(records(tmp_path)) == whole
    RunTracker.open(tmp_path, name="a", stage="sweep").metrics({"a/b": 1.0}, step=9)
    entries = list(read_entries(path))
    assert [entry.record is None for entry in entries].count(True) == 1
    assert entries[-1].record is not None and entries[-1].record["step"] == 9
    assert entries[-1].end == path.stat().st_size


def test_reading_from_the_middle_gives_the_rest(tmp_path: Path) -> None:
    write_run(tmp_path)
    entries = list(read_entries(spool_path(tmp_path)))
    for index, entry in enumerate(entries):
        assert list(read_entries(spool_path(tmp_path), entry.end)) == entries[index + 1 :]


def test_writers_at_once_keep_lines_whole(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from am_ray.tracking.spool import append
for i in range(300):
    append(Path(sys.argv[1]), {"type": "tags", "time": i, "who": sys.argv[2], "text": "x" * 500})
"""
    path = tmp_path / "spool.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), str(n)]) for n in range(3)]
    assert [writer.wait(timeout=100) for writer in writers] == [0, 0, 0]
    # A writer that looks while another one writes may begin with an empty line, which is no record.
    found = [entry.record["who"] for entry in read_entries(path) if entry.record is not None]
    assert sorted(found) == ["0"] * 300 + ["1"] * 300 + ["2"] * 300


def test_trouble_with_the_disk_is_said_once_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        tracker = RunTracker.open(tmp_path / "a", name="a", stage="pretrain")
        for step in range(3):
            tracker.metrics({"a/b": 1.0}, step=step)
        tracker.metrics({"a/b": "no number"}, step=3)  # type: ignore[dict-item]
        tracker.end("FINISHED")
    assert caplog.text.count("tracking failed") == 1


def test_secrets_stay_here(tmp_path: Path) -> None:
    tracker = RunTracker.open(tmp_path, name="a", stage="pretrain", tags={"url": "http://me:pass1@host/x"})
    tracker.params({"env": {"api_key": "pass2", "token": "pass3", "tokens_per_batch": 5}, "db": "s3://u:pass4@b/c"})
    tracker.tags({"aws.secret": "pass5"})
    tracker.dataset(name="d", digest="1", source="https://u:pass6@host/d", context="training")
    text = spool_path(tmp_path).read_text()
    assert "pass" not in text and "http://me:***@host/x" in text and "s3://u:***@b/c" in text
    assert records(tmp_path, "params")[0]["values"]["env.api_key"] == HIDDEN
    assert records(tmp_path, "params")[0]["values"]["env.tokens_per_batch"] == "5"


def test_the_environment_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SETTING", "do-not-log-me")
    write_run(tmp_path)
    assert "do-not-log-me" not in spool_path(tmp_path).read_text()


def test_names_are_made_such_that_mlflow_takes_them() -> None:
    assert key_name("eval/grasp[box]=1/success_rate") == "eval/grasp_box__1/success_rate"
    assert key_name("/a//b/../c") == "a/c"
    assert flat_texts({"a": {"b=c": True}}) == {"a.b_c": "true"}


def test_folders_are_found_parents_first_and_checkpoints_are_not_searched(tmp_path: Path) -> None:
    study = tmp_path / "runs" / "study"
    write_run(study)
    for name in ("b", "a"):
        write_run(study / "trials" / name, parent=study)
    write_run(study / "checkpoint-000000001" / "x")
    write_run(study / ".hidden" / "x")
    assert find_folders(tmp_path / "runs") == [study, study / "trials" / "a", study / "trials" / "b"]
    record = run_record(study / "trials" / "a")
    assert record is not None and parent_folder(study / "trials" / "a", record) == study
    assert top_folder(study / "trials" / "a") == study == top_folder(study)


def test_a_record_takes_microseconds(tmp_path: Path) -> None:
    tracker = write_run(tmp_path, steps=range(1), end=False)
    values = {f"critic/{i}": 1.0 for i in range(20)}
    taken = []
    for step in range(200):
        started = time.perf_counter()
        tracker.metrics(values, step=step)
        taken.append(time.perf_counter() - started)
    assert sorted(taken)[100] < 0.002  # 0.1 ms on an idle machine


def test_a_record_that_is_not_ours_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_text('[1]\n{"type": "tags"}\nnonsense\n')
    append(path, {"type": "tags", "time": 1, "values": {}})
    assert [entry.record is not None for entry in read_entries(path)] == [False, False, False, True]
    assert json.loads(path.read_text().splitlines()[-1])["time"] == 1


def test_the_command_line_and_the_package_import_no_mlflow() -> None:
    code = "import am_ray.tracking, am_ray.cli.main, sys; print({'mlflow', 'ray', 'torch'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
