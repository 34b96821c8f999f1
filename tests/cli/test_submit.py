"""`am-ray submit` without a cluster: the dry run, and everything that is refused before anything is sent."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from .conftest import AmRay

CONFIG = "dataset: data\ntraining: {updates: 30}\n"
TOKEN = "c0ffee-not-a-real-token"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: a config and its data; a user without a token and without a cluster."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "file").write_text("x" * 2000)
    (folder / "play.yaml").write_text(CONFIG)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_dry_run_shows_all_that_would_be_sent(am_ray: AmRay, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    address = ["--address", "https://192.0.2.7:8265"]
    options = [*address, "--storage", "/nfs/runs/", "--run-name", "one", "--resume", "must", "--cpus", "2"]
    passed = ["--", "--set", "training.updates=40", "--skip-bad-files", "--no-tracking"]
    run = am_ray("submit", "pretrain", "play.yaml", *options, "--dry-run", "--json", *passed)
    assert run.code == 0, run.stderr
    sent = run.json
    assert sent["entrypoint"] == (
        "python -m am_ray pretrain play.yaml --set training.updates=40 --skip-bad-files --no-tracking"
        " --run-name one --storage /nfs/runs --resume must"
    )
    assert (sent["address"], sent["address_source"]) == ("https://192.0.2.7:8265", "--address")
    assert (sent["token_source"], sent["num_cpus"], sent["num_gpus"]) == ("RAY_AUTH_TOKEN", 2.0, 0.0)
    assert sent["working_dir"]["files"] == {"data/file": 2000, "play.yaml": len(CONFIG)}
    assert sent["runtime_env"]["working_dir"] == str(project) and sent["warnings"] == []
    words = shlex.split(sent["ray_job_submit"])
    assert words[:4] == ["RAY_AUTH_MODE=token", "ray", "job", "submit"]
    assert words[words.index("--submission-id") + 1] == sent["submission_id"]
    assert words[words.index("--entrypoint-num-cpus") + 1] == "2"
    assert json.loads(words[words.index("--runtime-env-json") + 1])["env_vars"] == sent["runtime_env"]["env_vars"]
    assert shlex.join(words[words.index("--") + 1 :]) == sent["entrypoint"]
    shown = am_ray("submit", "pretrain", "play.yaml", *options, "--dry-run", *passed)
    for text in (sent["entrypoint"], sent["submission_id"], "from RAY_AUTH_TOKEN", "2 files", "2.0 KiB  data/file"):
        assert text in shown.stdout
    assert TOKEN not in shown.stdout + shown.stderr + run.stdout + run.stderr


def test_a_dry_run_says_that_the_real_one_would_be_refused(am_ray: AmRay) -> None:
    options = ["play.yaml", "--address", "http://192.0.2.7:8265", "--storage", "/nfs"]
    shown = am_ray("submit", "pretrain", *options, "--dry-run")
    assert shown.code == 1 and "token         none" in shown.stdout and "refused without --insecure" in shown.stdout
    assert am_ray("submit", "pretrain", *options, "--dry-run", "--insecure").code == 0
    refused = am_ray("submit", "pretrain", *options)
    assert refused.code == 2 and "no token" in refused.stderr and "--insecure" in refused.stderr


def test_storage_that_other_nodes_do_not_see_is_warned_of(am_ray: AmRay) -> None:
    assert "--storage runs is relative" in am_ray("submit", "pretrain", "play.yaml", "--dry-run").stdout
    assert "warning" not in am_ray("submit", "pretrain", "play.yaml", "--dry-run", "--storage", "/nfs").stdout


def test_a_database_on_shared_storage_is_warned_of(am_ray: AmRay) -> None:
    def warned(storage: str, address: str, *options: str) -> bool:
        command = ["submit", "pretrain", "play.yaml", "--storage", storage, "--address", address, "--insecure"]
        (warning, *_) = am_ray(*command, "--dry-run", "--json", *options).json["warnings"] or [""]
        return "/nfs/mlflow.db" in warning and "--tracking-uri" in warning and "--no-tracking" in warning

    there, here = "http://192.0.2.7:8265", "http://127.0.0.1:8265"
    assert warned("/nfs", there) and warned("/nfs", there, "--", "--set", "training.updates=40")
    assert not warned("/nfs", there, "--", "--tracking-uri", "http://mlflow:5000")
    assert not warned("/nfs", there, "--", "--no-tracking")
    assert not warned("/nfs", here) and not warned("runs", there)


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("dataset: data\ntrainin: {}\n", [], "unknown setting trainin. Did you mean training?"),
        ("dataset: data\nsweep: {num_samples: 0}\n", [], "sweep"),
        (CONFIG, ["--", "--set", "training.updats=3"], "unknown setting training.updats"),
        (CONFIG, ["--", "--set", "training.updates=0"], "training"),
        (CONFIG, ["--", "--set", "dataset=/nfs", "--dataset", "elsewhere"], "dataset: 'elsewhere' is relative"),
        ("training: {}\n", [], "dataset: not given"),
        (CONFIG, ["--", "--storage", "/nfs"], "--storage: stands after --"),
        (CONFIG, ["--", "--run=x"], "--run=x: stands after --"),
        (CONFIG, ["--working-dir", "data"], "outside the working directory"),
        (CONFIG, ["--env", "lock"], "requirements.lock: cannot be read"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    am_ray: AmRay, project: Path, config: str, options: list[str], message: str
) -> None:
    (project / "play.yaml").write_text(config)
    run = am_ray("submit", "pretrain", "play.yaml", *options)
    assert run.code == 2 and message in run.stderr, run.stderr


def test_an_option_that_the_command_does_not_have_is_found_here(am_ray: AmRay) -> None:
    with pytest.raises(SystemExit) as stop:
        am_ray("submit", "pretrain", "play.yaml", "--", "--no-such-option")
    assert stop.value.code == 2


def test_a_learner_inside_the_command_gets_its_gpu(am_ray: AmRay, project: Path) -> None:
    def gpus(*options: str) -> float:
        shown = am_ray("submit", "pretrain", "play.yaml", "--dry-run", "--json", *options).json
        assert ("--entrypoint-num-gpus" in shown["ray_job_submit"]) == (shown["num_gpus"] > 0)
        return float(shown["num_gpus"])

    one = ["--set", "resources.num_gpus_per_learner=1"]
    assert gpus() == 0 and gpus("--", *one) == 1 and gpus("--gpus", "0.5", "--", *one) == 0.5
    # Learners of their own ask for theirs.
    assert gpus("--", *one, "--set", "resources.num_learners=2") == 0


def test_sweep_and_finetune_are_submitted_alike(am_ray: AmRay, project: Path) -> None:
    sweep = am_ray(
        "submit", "sweep", "play.yaml", "--dry-run", "--json", "--storage", "/nfs", "--", "--no-tracking"
    ).json
    assert sweep["entrypoint"].startswith(
        "python -m am_ray sweep play.yaml --no-tracking --run-name play --storage /nfs"
    )
    finetune = ["submit", "finetune", "play.yaml", "--storage", "/nfs", "--dry-run"]
    assert "finetune.labelled: not given" in am_ray(*finetune).stderr
    run = am_ray(*finetune, "--", "--dataset", "/nfs/labelled", "--pretrained", "runs/play")
    assert run.code == 2 and "finetune.pretrained: 'runs/play' is relative" in run.stderr
    shown = am_ray(*finetune, "--json", "--", "--dataset", "data", "--pretrained", "/nfs/play").json
    assert "am_ray finetune play.yaml --dataset data --pretrained /nfs/play" in shown["entrypoint"]
    # A study's id is its own: the same run name and storage under another command is another job.
    assert len({sweep["submission_id"], shown["submission_id"]}) == 2


def test_nobody_answers(am_ray: AmRay) -> None:
    for command in (["submit", "pretrain", "play.yaml"], ["jobs", "list"]):
        run = am_ray(*command, "--address", "http://127.0.0.1:9")
        assert run.code == 2 and "http://127.0.0.1:9: nothing answers" in run.stderr


def test_a_working_directory_over_the_limit_names_its_files(am_ray: AmRay, project: Path) -> None:
    with (project / "weights.bin").open("wb") as stream:
        stream.truncate(513 * 2**20)  # sparse
    run = am_ray("submit", "pretrain", "play.yaml", "--dry-run")
    assert run.code == 2 and "513.0 MiB  weights.bin" in run.stderr and ".rayignore" in run.stderr
    (project / ".rayignore").write_text("*.bin\n")
    assert am_ray("submit", "pretrain", "play.yaml", "--dry-run").code == 0
