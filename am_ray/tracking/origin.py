"""Where a run's code and process come from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import lru_cache
from pathlib import Path


def origin_tags() -> dict[str, str]:
    """``git.commit`` and ``ray.job_id``, where there are such."""
    found = {"git.commit": git_commit(), "ray.job_id": ray_job_id()}
    return {name: value for name, value in found.items() if value}


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Commit of the checkout that am_ray runs from, with ``-dirty`` if files differ; empty outside a checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"]
    try:
        for arguments in (tracked, command):
            result = subprocess.run(arguments, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def machine() -> str:
    """Of this process: processor, number of CPUs, operating system."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}"


def ray_job_id() -> str:
    """Submission id of the Ray job that this process belongs to, else the job's own id; empty without Ray."""
    try:
        config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
        submitted = config.get("metadata", {}).get("job_submission_id")
        if submitted:
            return str(submitted)
        ray = sys.modules.get("ray")
        return str(ray.get_runtime_context().get_job_id()) if ray is not None and ray.is_initialized() else ""
    except Exception:
        return ""
