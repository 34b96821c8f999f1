"""A job before it is submitted: everything that is sent, and the `ray job submit` line that would send the same."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from am_ray.jobs.access import Access, JobsError
from am_ray.jobs.environment import Environment, runtime_environment
from am_ray.jobs.package import Package, package_of

Command = Literal["pretrain", "finetune", "sweep"]

ID_PREFIX = "am-ray-"
SETTINGS_KEY = "am_ray_settings_sha256"
_PASSWORD = re.compile(r"://[^/\s@]+:[^/\s@]+@")


@dataclass(frozen=True)
class JobPlan:
    """One am-ray command as a job.

    Attributes:
        command: ``pretrain``, ``finetune`` or ``sweep``.
        run_name: Of the run or study.
        storage: Folder of all runs, as the cluster's nodes see it.
        entrypoint: Shell line that the job runs in the unpacked working directory.
        package: Files that travel with it.
        runtime_env: Working directory, variables, packages.
        metadata: Texts that Ray keeps with the job.
        num_cpus: Reserved for the command itself; what it starts asks for its own.
        num_gpus: Likewise.
    """

    command: Command
    run_name: str
    storage: str
    entrypoint: str
    package: Package
    runtime_env: dict[str, Any]
    metadata: dict[str, str]
    num_cpus: float
    num_gpus: float

    @property
    def base_id(self) -> str:
        """Submission id of the first job of (command, run name, storage); later ones add ``-2``, ``-3`` ..."""
        digest = hashlib.sha256("\0".join((self.command, self.run_name, self.storage)).encode()).hexdigest()
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.run_name)[:60]
        return f"{ID_PREFIX}{self.command}-{name}-{digest[:10]}"

    def equal_line(self, access: Access, submission_id: str) -> str:
        """What one would type to submit the same job with Ray's own tool."""
        environment = {key: value for key, value in self.runtime_env.items() if key != "working_dir"}
        parts = ["ray", "job", "submit", "--address", access.address, "--submission-id", submission_id]
        parts += ["--working-dir", self.runtime_env["working_dir"], "--runtime-env-json", json.dumps(environment)]
        parts += ["--metadata-json", json.dumps(self.metadata)]
        for name, amount in (("cpus", self.num_cpus), ("gpus", self.num_gpus)):
            parts += [f"--entrypoint-num-{name}", f"{amount:g}"] if amount else []
        # Ray joins what follows -- with spaces and quotes it itself.
        variable = "" if access.token is None else "RAY_AUTH_MODE=token "
        return f"{variable}{shlex.join([*parts, '--no-wait', '--'])} {self.entrypoint}"


def plan_job(
    command: Command,
    config: Path,
    options: Sequence[str],
    *,
    run_name: str,
    storage: str,
    resume: str,
    settings_sha256: str,
    working_dir: Path,
    environment: Environment = "image",
    num_cpus: float = 0.0,
    num_gpus: float = 0.0,
) -> JobPlan:
    """Collects and checks what will be sent; nothing is sent.

    Args:
        command: Which am-ray command.
        config: Its YAML file, inside ``working_dir``.
        options: Further options of the command, passed on as they are.
        run_name: Of the run or study.
        storage: Folder of all runs on the cluster.
        resume: ``auto``, ``must`` or ``never``.
        settings_sha256: Digest of the resolved settings; a running job of other settings is not attached to.
        working_dir: Folder that travels with the job.
        environment: See `am_ray.jobs.environment`.
        num_cpus: CPUs reserved for the command itself.
        num_gpus: GPUs reserved for the command itself.

    Raises:
        JobsError: The config would not arrive, the working directory is too large, or an option holds a password.
    """
    if any(_PASSWORD.search(option) for option in options):
        raise JobsError(
            "an option holds a password (scheme://user:password@...): a job's command is shown to everyone who sees the "
            "dashboard. Give it to the cluster's nodes as a variable or a file, and name no password here."
        )
    working_dir = working_dir.absolute()
    package = package_of(working_dir)
    name = _inside(config, package)
    words = ["python", "-m", "am_ray", command, name, *options]
    words += ["--run-name", run_name, "--storage", storage, "--resume", resume]
    return JobPlan(
        command=command,
        run_name=run_name,
        storage=storage,
        entrypoint=shlex.join(words),
        package=package,
        runtime_env=runtime_environment(environment, working_dir),
        metadata={SETTINGS_KEY: settings_sha256, "am_ray_command": command, "am_ray_run_name": run_name},
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )


def check_arrives(path: str, setting: str, package: Package) -> None:
    """Refuses a folder that the job would look for in its working directory and not find.

    Raises:
        JobsError: ``path`` is relative and not among the files that travel.
    """
    if path and "://" not in path and not Path(path).is_absolute() and not package.holds(path):
        raise JobsError(
            f"{setting}: {path!r} is relative and not among the {len(package.files)} files that travel with the job from "
            f"{package.root} (see .rayignore and .gitignore). Give a path that all nodes of the cluster see."
        )


def _inside(config: Path, package: Package) -> str:
    try:
        name = config.resolve().relative_to(package.root.resolve()).as_posix()
    except ValueError:
        raise JobsError(
            f"{config}: outside the working directory {package.root}, so the job would not have it. Move it, or give "
            f"another --working-dir."
        ) from None
    if name not in package.files:
        raise JobsError(f"{config}: kept out of the job's files by a .rayignore or .gitignore. Take it out of there.")
    return name
