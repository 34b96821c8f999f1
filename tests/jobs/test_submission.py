"""Ids of repeated submissions, and what a submission finds when the same job runs already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from am_ray.jobs import AlreadySubmittedError, Job, JobPlan, JobsError, check_arrives, next_submission, plan_job, submit
from am_ray.jobs.package import Package


def job(number: str, status: str, sha: str = "s") -> Job:
    return Job(number, status, "", "", {"am_ray_settings_sha256": sha}, 0, None)


def plan(tmp_path: Path, *options: str, **changes: Any) -> JobPlan:
    (tmp_path / "play.yaml").write_text("dataset: /data\n")
    arguments: dict[str, Any] = {"run_name": "play", "storage": "/nfs", "resume": "auto", "settings_sha256": "s"}
    arguments |= {"working_dir": tmp_path, **changes}
    return plan_job("pretrain", tmp_path / "play.yaml", options, **arguments)


def test_the_id_is_the_command_the_run_and_its_place(tmp_path: Path) -> None:
    first = plan(tmp_path)
    assert first.base_id.startswith("am-ray-pretrain-play-")
    assert plan(tmp_path, "--set", "training.updates=5", settings_sha256="t").base_id == first.base_id
    others = [plan(tmp_path, run_name="other"), plan(tmp_path, storage="/other"), replace(first, command="sweep")]
    assert len({first.base_id, *(other.base_id for other in others)}) == 4
    # Names that look alike once odd characters are gone do not share an id.
    assert plan(tmp_path, run_name="a b").base_id != plan(tmp_path, run_name="a/b").base_id


def test_a_counter_tells_submissions_apart() -> None:
    assert next_submission("x", []) == ("x", None)
    ended = [job("x", "FAILED"), job("x-2", "STOPPED"), job("x-10", "SUCCEEDED")]
    assert next_submission("x", [*ended, job("x-y", "RUNNING"), job("y", "RUNNING"), job("xx", "PENDING")]) == (
        "x-11",
        None,
    )
    for status in ("PENDING", "RUNNING"):
        assert next_submission("x", [*ended, job("x-11", status)])[1] == job("x-11", status)


class Cluster:
    """A cluster's list of jobs; ``quicker`` is a job that another submits just before ours."""

    def __init__(self, *jobs: Job, quicker: Job | None = None) -> None:
        self.listed, self.quicker, self.submitted = list(jobs), quicker, list[str]()

    def jobs(self) -> list[Job]:
        return list(self.listed)

    def submit(self, plan: JobPlan, submission_id: str) -> str:
        if self.quicker is not None:
            self.listed.append(self.quicker)
            self.quicker = None
            raise AlreadySubmittedError("taken")
        self.submitted.append(submission_id)
        return submission_id


def test_of_two_at_the_same_moment_one_is_submitted(tmp_path: Path) -> None:
    mine = plan(tmp_path)
    cluster = Cluster(quicker=job(mine.base_id, "PENDING"))
    assert submit(cluster, mine, attach=True).attached and cluster.submitted == []  # type: ignore[arg-type]
    cluster = Cluster(quicker=job(mine.base_id, "PENDING"))
    with pytest.raises(JobsError, match=f"{mine.base_id}: is PENDING already.*--follow"):
        submit(cluster, mine, attach=False)  # type: ignore[arg-type]
    # ... and if that one has ended meanwhile, ours takes the next id.
    cluster = Cluster(quicker=job(mine.base_id, "FAILED"))
    assert submit(cluster, mine, attach=False).id == f"{mine.base_id}-2"  # type: ignore[arg-type]


def test_a_running_job_of_other_settings_is_not_taken_for_ours(tmp_path: Path) -> None:
    mine = plan(tmp_path)
    with pytest.raises(JobsError, match=r"RUNNING with other settings.*another --run-name"):
        submit(Cluster(job(mine.base_id, "RUNNING", "other")), mine, attach=True)  # type: ignore[arg-type]


def test_the_entrypoint_survives_the_shell(tmp_path: Path) -> None:
    made = plan(tmp_path, "--set", "evaluation.tasks=[a, b]", "--set", "x=$(touch /tmp/pwned); 'q'", run_name="it's")
    import shlex

    words = shlex.split(made.entrypoint)
    assert words[:8] == ["python", "-m", "am_ray", "pretrain", "play.yaml", "--set", "evaluation.tasks=[a, b]", "--set"]
    assert words[8:] == ["x=$(touch /tmp/pwned); 'q'", "--run-name", "it's", "--storage", "/nfs", "--resume", "auto"]
    assert "'x=$(touch" in made.entrypoint


def test_a_password_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match="password") as error:
        plan(tmp_path, "--tracking-uri", "postgresql://me:hunter2@db/mlflow")
    assert "hunter2" not in str(error.value)
    plan(tmp_path, "--tracking-uri", "http://mlflow:5000")


def test_the_config_has_to_travel(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with pytest.raises(JobsError, match=r"play\.yaml: outside the working directory"):
        plan(tmp_path, working_dir=project)
    (tmp_path / ".rayignore").write_text("play.yaml\n")
    with pytest.raises(JobsError, match="kept out of the job's files"):
        plan(tmp_path)


def test_relative_data_have_to_travel() -> None:
    package = Package(Path("/project"), {"datasets/sample/info.json": 1})
    for fine in ("", "/nfs/data", "s3://bucket/data", "datasets/sample"):
        check_arrives(fine, "dataset", package)
    with pytest.raises(JobsError, match="dataset: 'data/tray' is relative and not among the 1 files"):
        check_arrives("data/tray", "dataset", package)
