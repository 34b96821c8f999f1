"""The runtime environment of a job: variables, and the packages that its nodes need beside the working directory.

``image`` installs nothing: the nodes' image has am-ray's packages already (deploy/Dockerfile). That is the default,
because Ray builds an environment per node, at the start of every job: torch alone is minutes and gigabytes.
``lock`` installs what requirements.lock pins, less Ray itself (a job must run the Ray of its cluster) and less the
development tools; for clusters whose image is not yours.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any, Literal

from am_ray.jobs.access import JobsError

Environment = Literal["image", "lock"]

VARIABLES = {
    # Logs are followed line by line.
    "PYTHONUNBUFFERED": "1",
    # Seconds from SIGTERM to SIGKILL when a job is stopped. Ray's 3 are too few to write a checkpoint.
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
}
LOCK = "requirements.lock"
# Not installed: the code that travels, the cluster's Ray, and what every environment has (pip pins none of it).
_LEFT_OUT = {"am-ray", "ray", "pip", "setuptools", "wheel"}


def runtime_environment(kind: Environment, working_dir: Path) -> dict[str, Any]:
    """The mapping that Ray takes; holds no secret.

    Args:
        kind: ``image`` or ``lock``.
        working_dir: Folder that travels with the job; ``lock`` looks for its requirements.lock.

    Raises:
        JobsError: ``lock``, and there is no lock file or it does not cover am-ray.
    """
    environment: dict[str, Any] = {"working_dir": str(working_dir), "env_vars": dict(VARIABLES)}
    if kind == "image":
        return environment
    import am_ray

    # am-ray itself is on no index: the package of this machine travels with the job.
    code = [] if (working_dir / "am_ray" / "__init__.py").exists() else [str(Path(am_ray.__file__).parent)]
    extra = {"py_modules": code} if code else {}
    return environment | extra | {"pip": {"packages": runtime_pins(working_dir / LOCK), "pip_check": False}}


def runtime_pins(lock: Path) -> list[str]:
    """Lines ``name==version`` of the lock that am-ray needs to run, directly or not, without Ray.

    Raises:
        JobsError: The file is missing, or lacks a package that am-ray needs.
    """
    try:
        lines = [line.strip() for line in lock.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise JobsError(
            f"{lock}: cannot be read ({error}); --env lock installs what it pins. Copy am-ray's requirements.lock there, or "
            f"use --env image on a cluster that has am-ray."
        ) from error
    pins = {_canonical(line.partition("==")[0]): line for line in lines if line and not line.startswith("#")}
    missing = sorted({name for name, _ in _requirements("am-ray", "")} - pins.keys() - _LEFT_OUT)
    if missing:
        raise JobsError(f"{lock}: pins no {', '.join(missing)}, which am-ray needs. Make it anew with `make lock`.")
    # Deeper down, what the lock does not pin (torch's CUDA libraries under a lock made with its CPU build) is pip's choice.
    return sorted(pins[name] for name in (_needed("am-ray") - _LEFT_OUT) & pins.keys())


def _needed(root: str) -> set[str]:
    """Names of ``root`` and all that it requires, directly or not."""
    seen: set[tuple[str, str]] = set()
    todo = [(root, "")]
    while todo:
        entry = todo.pop()
        if entry not in seen:
            seen.add(entry)
            todo += _requirements(*entry)
    return {name for name, _ in seen}


def _requirements(name: str, extra: str) -> list[tuple[str, str]]:
    """(package, extra) that a package requires on this machine, from the metadata of what is installed."""
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Requirement(text) for text in texts]
    return [
        (_canonical(requirement.name), wanted)
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        for wanted in ("", *sorted(requirement.extras))
    ]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower().strip()
