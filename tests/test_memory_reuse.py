"""Freed memory stays in the process: allocating it again faults no pages in."""

from __future__ import annotations

import json
import subprocess
import sys

COUNT = """
import json, resource, sys
import numpy as np
from am_ray.memory_reuse import reuse_freed_memory
kept = reuse_freed_memory() if sys.argv[1] == "reuse" else None
def faults():
    for _ in range(5):
        [np.ones(3 << 20, np.uint8) for _ in range(10)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [np.ones(3 << 20, np.uint8) for _ in range(10)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps([kept, faults()]))
"""


def faults(mode: str) -> tuple[bool | None, int]:
    result = subprocess.run(
        [sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True, env={"GLIBC_TUNABLES": ""}
    )
    kept, count = json.loads(result.stdout)
    return kept, count


def test_page_faults_go_away() -> None:
    kept, count = faults("reuse")
    assert kept
    assert count < 100
    assert count < faults("plain")[1] / 10
