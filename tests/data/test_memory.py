"""Row 13 of the reliability table: a dataset ten times the object store streams in flat memory, without a deadlock."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from am_ray.data.writer import write_dataset
from am_ray.types import Trajectory

STORE_BYTES = 80 << 20
STATE = 512
EPISODES, STEPS = 4000, 100  # 827 MB decoded

# Streams one pass over the data; prints the memory of all its processes along the way.
STREAM = """
import json, sys
import ray
import psutil  # comes with ray
from am_ray.data.ingest import open_ingest
from am_ray.data.pipeline_threads import join_pipeline_threads
from am_ray.settings import IngestSettings, RelabelSettings

ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=int(sys.argv[2]))
settings = IngestSettings(mode="streaming", window_rows=8000)
source = open_ingest(sys.argv[1], None, RelabelSettings(), settings, batch_size=512, seed=0)[0]
batches, memory = source.batches(), []
for update in range(800):
    assert next(batches)["action"].shape == (512, 2)
    if update % 100 == 99:
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        memory.append(sum(p.memory_info().rss - p.memory_info().shared for p in processes))
batches.close()
join_pipeline_threads()  # as the learner does: a thread that still fetches while Python ends makes Ray abort
print(json.dumps(memory))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_dataset_ten_times_the_object_store(tmp_path):
    states = np.repeat(np.arange(STEPS + 1, dtype=np.float32)[:, None], STATE, axis=1)
    actions = np.zeros((STEPS, 2), np.float32)
    decoded = EPISODES * states.nbytes
    assert decoded > 9.5 * STORE_BYTES
    write_dataset(
        tmp_path / "set",
        (Trajectory({"state": states + i}, actions) for i in range(EPISODES)),
        action_low=-1,
        action_high=1,
    )
    command = [sys.executable, "-c", STREAM, str(tmp_path / "set"), str(STORE_BYTES)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=540, env=dict(os.environ), check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    memory = json.loads(result.stdout.splitlines()[-1])
    assert max(memory[4:]) < 1.15 * max(memory[:4]), memory
