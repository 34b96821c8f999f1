"""Jobs on a real cluster with token authentication: submitted, followed, refused, stopped, resumed."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from am_ray.models.checkpoint import latest_valid_checkpoint, read_checkpoint

from .conftest import Cluster, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
CONFIG = f"""
dataset: {ROOT}/datasets/sample
algorithm:
  model: {{width: 8, head_width: 8, depth: 1, head_depth: 1, image_channels: [4, 4, 4]}}
  optimization: {{batch_size: 8}}
ingest: {{mode: resident}}
training: {{updates: 1000000, updates_per_iteration: 7, checkpoint_every: 1000000}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a config and nothing else: am_ray itself is what the cluster has installed."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "long.yaml").write_text(CONFIG)
    return folder


def update_of(run: Path) -> int:
    latest = latest_valid_checkpoint(run)
    assert latest is not None
    return read_checkpoint(latest).state.update


def lines_of(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def test_from_submission_to_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    """The shipped smoke config, streamed through the cluster's Ray Data, from a checkout."""
    command = ["submit", "pretrain", "tune_configs/smoke.yaml", "--storage", tmp_path, "--follow", "--json"]
    first = cluster.am_ray(*command, cwd=ROOT)
    assert first.returncode == 0, first.stderr[-3000:]
    done = json.loads(first.stdout)
    assert done["status"] == "SUCCEEDED" and not done["attached"]
    assert "ray job submit" in first.stderr and "ingest: streaming; updates 0 to 40" in first.stderr
    assert update_of(tmp_path / "smoke") == 40

    # Other settings under the same name: the command itself refuses, which is how the job ends.
    other = cluster.am_ray(*command, "--", "--no-tracking", "--set", "seed=5", cwd=ROOT)
    assert other.returncode == 1 and json.loads(other.stdout)["status"] == "FAILED"
    assert "begun with seed = 0, now 5" in other.stderr


def test_a_sweep_runs_as_a_job(cluster: Cluster, tmp_path: Path) -> None:
    """Trials in processes of their own, on the job's cluster, with the code of the working directory."""
    sweep = cluster.am_ray(
        "submit", "sweep", "tune_configs/smoke.yaml", "--storage", tmp_path, "--follow", "--json", cwd=ROOT
    )
    assert sweep.returncode == 0, sweep.stderr[-3000:]
    assert json.loads(sweep.stdout)["status"] == "SUCCEEDED"
    trials = [
        json.loads(path.read_text())["result"] for path in sorted((tmp_path / "smoke" / "trials").glob("*/trial.json"))
    ]
    assert [(trial["status"], trial["update"]) for trial in trials] == [("completed", 40)] * 2
    assert (tmp_path / "smoke" / "results.csv").exists()


def test_one_at_a_time_followed_stopped_and_resumed(cluster: Cluster, project: Path, tmp_path: Path) -> None:
    command = ["submit", "pretrain", "long.yaml", "--storage", tmp_path, "--json"]
    # Two at the same moment: one is submitted, the other is told so.
    both = [cluster.popen(*command, cwd=project) for _ in range(2)]
    outputs = [process.communicate(timeout=100) for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], outputs
    out, refusal = next(o for o, e in outputs if o), next(e for o, e in outputs if not o)
    job_id = json.loads(out)["id"]
    assert job_id in refusal and ("is PENDING already" in refusal or "is RUNNING already" in refusal)

    wait_until(lambda: lines_of(tmp_path / "long") >= 2, limit_s=90, what="training")
    other = cluster.am_ray(*command, "--follow", "--", "--set", "seed=5", cwd=project)
    assert other.returncode == 2 and f"{job_id}: is RUNNING with other settings" in other.stderr
    follower = cluster.popen(*command, "--follow", cwd=project)
    stopped = cluster.am_ray("jobs", "stop", job_id, "--json", cwd=project)
    assert json.loads(stopped.stdout)["status"] == "STOPPED"
    out, err = follower.communicate(timeout=60)
    assert (follower.returncode, json.loads(out)["status"], json.loads(out)["attached"]) == (1, "STOPPED", True)
    assert "runs already, attached" in err and "ingest: resident; updates 0 to 1000000" in err

    # Stopping saved a checkpoint; what comes next begins there and ends at its update.
    reached = update_of(tmp_path / "long")
    assert 0 < reached < 1_000_000
    (project / "long.yaml").write_text(CONFIG.replace("updates: 1000000", f"updates: {reached + 14}"))
    resumed = cluster.am_ray(*command, "--resume", "must", "--follow", cwd=project)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert json.loads(resumed.stdout)["id"] == job_id + "-2"
    assert f"resumed at update {reached}" in resumed.stderr
    assert update_of(tmp_path / "long") >= reached + 14


def test_the_printed_line_submits_the_same_job(cluster: Cluster, project: Path, tmp_path: Path) -> None:
    (project / "long.yaml").write_text(CONFIG.replace("updates: 1000000", "updates: 7"))
    command = ["submit", "pretrain", "long.yaml", "--storage", tmp_path, "--run-name", "it's one", "--json"]
    line = json.loads(cluster.am_ray(*command, "--dry-run", cwd=project).stdout)["ray_job_submit"]
    typed = subprocess.run(
        ["bash", "-c", line],
        cwd=project,
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert typed.returncode == 0, typed.stdout + typed.stderr
    first_id = shlex.split(line)[shlex.split(line).index("--submission-id") + 1]
    followed = cluster.am_ray("jobs", "logs", first_id, "--follow", cwd=project)
    assert followed.returncode == 0 and update_of(tmp_path / "it's one") == 7, followed.stderr[-3000:]

    # It has ended, so the same job is submitted once more, under the next id, and finds nothing left to do.
    ours = cluster.am_ray(*command, "--follow", cwd=project)
    done = json.loads(ours.stdout)
    assert (ours.returncode, done["id"], done["attached"]) == (0, first_id + "-2", False)
    assert "already at update 7 of 7" in ours.stderr
    listed = json.loads(cluster.am_ray("jobs", "list", "--json", cwd=project).stdout)["jobs"]
    assert {"SUCCEEDED"} == {job["status"] for job in listed if job["metadata"]["am_ray_run_name"] == "it's one"}
    assert done["id"] in cluster.am_ray("jobs", "list", cwd=project).stdout
    assert "already at update 7" in cluster.am_ray("jobs", "logs", done["id"], cwd=project).stdout
    status = cluster.am_ray("jobs", "status", done["id"], cwd=project)
    assert status.returncode == 0 and status.stdout.startswith(f"{done['id']} SUCCEEDED")
    missing = cluster.am_ray("jobs", "status", "no-such-job", cwd=project)
    assert missing.returncode == 2 and "no such job" in missing.stderr
    # Nothing is tried again for a job that there is not.
    began = time.monotonic()
    nothing = cluster.am_ray("jobs", "logs", "--follow", "am-ray-none", cwd=project)
    assert nothing.returncode == 2 and "no such job" in nothing.stderr and "lost the connection" not in nothing.stderr
    assert time.monotonic() - began < 20.0


def test_a_cluster_with_a_token_wants_it(cluster: Cluster, project: Path, tmp_path: Path) -> None:
    command = ["submit", "pretrain", "long.yaml", "--storage", tmp_path]
    wrong = cluster.am_ray(*command, cwd=project, RAY_AUTH_TOKEN="wrong-0123")
    assert wrong.returncode == 2 and "the one of RAY_AUTH_TOKEN is wrong" in wrong.stderr
    assert "wrong-0123" not in wrong.stderr and "Traceback" not in wrong.stderr
    none = cluster.am_ray("jobs", "list", cwd=project, RAY_AUTH_TOKEN="", RAY_AUTH_MODE="disabled")
    assert none.returncode == 2 and "no token was sent" in none.stderr
    # The option names the cluster, whatever the environment says (Ray's own client prefers the environment).
    right = cluster.am_ray("jobs", "list", "--address", cluster.address, cwd=project, RAY_ADDRESS="http://127.0.0.1:9")
    assert right.returncode == 0, right.stderr
