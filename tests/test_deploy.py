"""The files of deploy/: as far as they can be checked without a cloud. They were never applied to one, and say so."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
LAUNCHER = ("aws", "gcp")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def command_line(entrypoint: str) -> list[str]:
    words = entrypoint.split()
    assert words[0] == "am-ray"
    return words[1:]


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_every_file_opens_with_what_was_not_run(path: Path) -> None:
    opening = path.read_text().split("\n\n")[0]
    head = "\n".join(line for line in path.read_text().splitlines()[:20] if line.startswith("#"))
    assert "NOT run" in head and "Was run here" in head, opening


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_no_secret_and_no_open_door(path: Path) -> None:
    text = path.read_text()
    assert "0.0.0.0" not in text and "dashboard-host=0" not in text
    for secret in (
        r"AKIA[0-9A-Z]{16}",
        r"BEGIN [A-Z ]*PRIVATE KEY",
        r"(?i)(password|secret|token)\s*[:=]\s*['\"]?\w{8,}",
    ):
        assert not re.search(secret, text), secret


@pytest.mark.parametrize("cloud", LAUNCHER)
def test_rays_own_launcher_accepts_the_cluster(cloud: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents(f"{cloud}.yaml")
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "gpu"} and prepared["head_node_type"] == "head"
    # The schema is strict: a key that it does not know is refused.
    import jsonschema

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepared | {"no_such_key": 1})


@pytest.mark.parametrize("cloud", LAUNCHER)
def test_a_launched_cluster_has_a_token_and_a_closed_dashboard(cloud: str) -> None:
    (config,) = documents(f"{cloud}.yaml")
    head, worker = (config[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker"))
    assert "--dashboard-host=127.0.0.1" in head
    assert "RAY_AUTH_MODE=token ray start" in head and "RAY_AUTH_MODE=token ray start" in worker
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    # A job's `python` is that of the environment that `ray start` runs in.
    assert ". ~/venv/bin/activate;" in head and ". ~/venv/bin/activate;" in worker
    nodes = [kind["node_config"] for kind in config["available_node_types"].values()]
    if cloud == "aws":
        # Ray makes a group that opens port 22 to the world unless it is given one.
        assert all(node["SecurityGroupIds"] == ["sg-REPLACE"] for node in nodes)
        assert "security_group" not in config["provider"]
    else:
        assert all("REPLACE" in net["network"] for node in nodes for net in node["networkInterfaces"])


@pytest.mark.parametrize("cloud", LAUNCHER)
def test_all_code_and_no_run_travels_to_a_launched_cluster(cloud: str) -> None:
    (config,) = documents(f"{cloud}.yaml")
    # Ray gives the folder to rsync with a slash at its end: / in a pattern is the checkout.
    assert config["file_mounts"]["~/am-ray"] == "."

    def excluded(path: str) -> list[str]:
        parts = path.split("/")
        return [
            pattern
            for pattern in config["rsync_exclude"]
            if (f"/{path}/".startswith(f"{pattern}/") if "/" in pattern else any(fnmatch(p, pattern) for p in parts))
        ]

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "am_ray/data/reader.py" in listed
    assert {path: found for path in listed if (found := excluded(path))} == {}
    for path in (".git/config", ".venv/bin/python", "runs/a/settings.yaml", "data/x", "runs/mlflow.db", "mlruns/0"):
        assert excluded(path), path


def test_the_rayjob_is_what_kuberay_and_am_ray_understand() -> None:
    claim, job = documents("kuberay-rayjob.yaml")
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"} and cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["shutdownAfterJobFinishes"] is True
    import ray

    assert cluster["rayVersion"] == ray.__version__ == locked("ray")
    assert int(yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 30
    storage = mount_of(cluster["headGroupSpec"], "storage")
    words = command_line(spec["entrypoint"])
    assert words[0] == "sweep" and words[words.index("--resume") + 1] == "auto" and "--run-name" in words
    assert words[words.index("--storage") + 1].startswith(storage + "/")
    assert "--tracking-uri" in words and words[words.index("--tracking-uri") + 1].startswith("http")
    # The image has the config and the data under these paths.
    for word in words:
        if "/opt/am-ray/" in word:
            assert (ROOT / word.partition("/opt/am-ray/")[2]).exists(), word


def test_every_pod_of_the_rayjob_sees_the_storage_and_is_not_root() -> None:
    _, job = documents("kuberay-rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    groups = [cluster["headGroupSpec"], workers]
    assert len({mount_of(group, "storage") for group in groups}) == 1
    assert {mount_of(group, "shm") for group in groups} == {"/dev/shm"}
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] == 1000
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        tag = container["image"].rpartition(":")[2]
        assert tag and tag != "latest"
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]


def mount_of(group: dict[str, Any], name: str) -> str:
    """Where the pods of a group see a volume that they declare."""
    pod = group["template"]["spec"]
    assert name in {volume["name"] for volume in pod["volumes"]}
    (path,) = (mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == name)
    return str(path)


def test_the_image_is_pinned_and_its_user_is_not_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith(("#", " "))]
    froms = [rest for word, rest in steps if word == "FROM"]
    assert len(froms) == 1 and re.fullmatch(r"python:3\.11\.\d+-slim-\w+", froms[0])
    assert not [rest for word, rest in steps if word in ("ADD", "ARG")]
    # Packages come from the lock, exactly; the project itself brings none.
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert len(installs) == 2 and "--requirement requirements.lock" in installs[0] and "--no-deps" in installs[1]
    words = [word for word, _ in steps]
    user = words.index("USER")
    assert steps[user][1] == "ray"
    # The check runs as that user, after everything is in place.
    assert [rest for word, rest in steps[user:] if word == "RUN"] == ["am-ray doctor"]
    assert "COPY" not in words[user:]
    assert "RAY_AUTH_MODE=token" in text
    for word, rest in steps:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest


def test_the_build_sees_only_what_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    seen = {line.strip("!/") for line in lines if line.startswith("!")}
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {word for line in text.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied <= seen and not seen - copied - {"datasets/sample"}
    assert lines.index("datasets/*/") < lines.index("!datasets/sample/")


COMMANDS = [
    (path.name, line.strip("# ").partition("  #")[0])
    for path in (ROOT / "README.md", ROOT / "docs" / "cluster.md", *sorted(DEPLOY.glob("*.yaml")))
    for line in path.read_text().splitlines()
    if re.match(r"(#\s+)?am-ray submit (pretrain|sweep|finetune) ", line)
]


@pytest.mark.parametrize(("file", "command"), COMMANDS)
def test_a_submission_that_is_written_down_can_be_made(
    file: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from am_ray.cli.submit import add_parser

    monkeypatch.chdir(ROOT)
    for name, value in {"HOME": str(tmp_path), "PWD": str(tmp_path), "RAY_AUTH_TOKEN": "of-a-test"}.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    words = shlex.split(os.path.expandvars(command))
    assert words[:2] == ["am-ray", "submit"]
    args = parser.parse_args(["submit", "--dry-run", *words[2:]])
    report = args.run(args)
    assert report.code == 0 and report.data["warnings"] == [], report.text
    # SQLite is for one machine.
    if "/mnt/" in command:
        assert "--tracking-uri http://" in command or "--no-tracking" in command
    assert "datasets/sample/data/chunk-000/file-000.parquet" in report.data["working_dir"]["files"]


def test_submissions_are_written_down() -> None:
    assert {file for file, _ in COMMANDS} == {"README.md", "cluster.md", "aws.yaml", "gcp.yaml"} and len(COMMANDS) >= 9
    assert {command.split()[2] for _, command in COMMANDS} == {"pretrain", "sweep", "finetune"}


def locked(name: str) -> str:
    pins = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    return pins[name]
