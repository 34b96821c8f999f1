"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import ray
import torch


def describe_machine() -> dict[str, Any]:
    facts: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ray": ray.__version__,
    }
    gpu = facts["gpu"] or "no GPU"
    facts["text"] = (
        f"{facts['cores']} cores of {facts['cpu']}, {facts['memory_gib']} GiB, {gpu}; {facts['system']}, "
        f"Python {facts['python']}, torch {facts['torch']}, Ray {facts['ray']}"
    )
    return facts


def commit() -> dict[str, Any]:
    """The code's commit, and whether files differ from it; unknown outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None}
    return {"commit": found.stdout.strip()}


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"
