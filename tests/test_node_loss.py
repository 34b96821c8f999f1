"""A node of the cluster is lost during training: its raylet, its workers and its objects are gone from one moment to the next.

A cluster of several raylets on this machine, in a process of its own; the driver runs on a head that gives no CPUs, so all
work is on the node that is killed, and can only go on because another node joins.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from am_ray.data.writer import write_dataset
from am_ray.models.checkpoint import latest_valid_checkpoint, read_checkpoint
from am_ray.pretraining import pretrain
from am_ray.settings import (
    AlgorithmSettings,
    IngestSettings,
    ModelSettings,
    OptimizationSettings,
    PretrainSettings,
    ResourceSettings,
    TrainingSettings,
)
from am_ray.settings_reader import to_mapping
from am_ray.study_settings import EvaluationSettings, StudySettings, SweepSettings
from am_ray.types import Trajectory

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[1]
UPDATES = 240

_SCRIPT = """
import sys, time
import ray
from ray._private.state import available_resources_per_node
from ray.cluster_utils import Cluster
from am_ray.pretraining import pretrain
from am_ray.settings import PretrainSettings
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml

config, storage, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
settings = read_settings(PretrainSettings, load_yaml(config), "test")
memory = 100 * 1024**2
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": memory})
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
node = cluster.add_node(num_cpus=2, object_store_memory=memory)
cluster.wait_for_nodes()
killed = False

def on_progress(progress):
    global killed
    print("update", progress.update, flush=True)
    if not killed and progress.update >= kill_at:
        # Work was there: of all nodes this one alone has CPUs. So were blocks that the driver has not fetched yet.
        assert sorted(n["Resources"].get("CPU", 0) for n in ray.nodes() if n["Alive"]) == [0, 2]
        free = available_resources_per_node()[node.node_id]["object_store_memory"]
        print("lost", memory - int(free), "bytes", flush=True)
        cluster.add_node(num_cpus=2, object_store_memory=memory)
        cluster.remove_node(node, allow_graceful=False)
        killed = True
        time.sleep(8.0)  # its processes notice within seconds; meanwhile these few updates would be over
        print("killed", node.unique_id, flush=True)

for attempt in (1, 2):
    try:
        result = pretrain(settings, run_name="killed", storage=storage, on_progress=on_progress)
        break
    except ray.exceptions.RayError as error:
        # What a user (or the next attempt of a job) does: the same call again.
        print("attempt", attempt, "ended by", type(error).__name__, flush=True)
print("done", result.update, "resumed from", result.resumed_from, flush=True)
ray.shutdown()
cluster.shutdown()
"""

# Of a sweep the trial itself is on the node; the driver sees its files alone.
_SWEEP_SCRIPT = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray._private.state import available_resources_per_node
from ray.cluster_utils import Cluster
from am_ray.settings_reader import read_settings
from am_ray.strict_yaml import load_yaml
from am_ray.study_settings import StudySettings
from am_ray.sweep import plan_sweep, run_sweep

config, storage = sys.argv[1], Path(sys.argv[2])
plan = plan_sweep(read_settings(StudySettings, load_yaml(config), "test"), config)
memory = 100 * 1024**2
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": memory})
ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
# Two nodes with room for one trial each; which of them the trial takes is Ray's choice.
nodes = [cluster.add_node(num_cpus=1, object_store_memory=memory) for _ in range(2)]
cluster.wait_for_nodes()

def kill():
    while not list(storage.glob("sweep/trials/*/checkpoint-*")):
        time.sleep(0.05)
    free = available_resources_per_node()
    (busy,) = [node for node in nodes if not free[node.node_id].get("CPU")]
    cluster.remove_node(busy, allow_graceful=False)
    (metrics,) = storage.glob("sweep/trials/*/metrics.jsonl")
    update = json.loads(metrics.read_text().splitlines()[-1])["update"]
    sys.stdout.write("killed at " + str(update) + "\\n")  # at once: Ray's log goes between the parts of a print
    sys.stdout.flush()

threading.Thread(target=kill, daemon=True).start()
outcome = run_sweep(plan, run_name="sweep", storage=storage, tracked=False)
print("results", json.dumps([result.to_json() for result in outcome.results]), flush=True)
ray.shutdown()
cluster.shutdown()
"""


def write_points(path: Path, size: int) -> str:
    """Points of ``size`` numbers that walk."""
    rng = np.random.default_rng(0)
    walks = [
        Trajectory(
            {"state": rng.normal(size=(26, size)).astype(np.float32)}, rng.uniform(-1, 1, (25, 2)).astype(np.float32)
        )
        for _ in range(200)
    ]
    write_dataset(path, walks, fps=10.0, action_low=-1.0, action_high=1.0)
    return str(path)


def settings_for(dataset: str, ingest: IngestSettings) -> PretrainSettings:
    return PretrainSettings(
        dataset=dataset,
        algorithm=AlgorithmSettings(
            model=ModelSettings(width=8, depth=1, head_width=8, head_depth=1),
            optimization=OptimizationSettings(batch_size=64),
        ),
        ingest=ingest,
        training=TrainingSettings(updates=UPDATES, updates_per_iteration=20, checkpoint_every=40),
    )


def run_and_kill(script: str, settings: PretrainSettings, folder: Path, *arguments: str) -> str:
    """Runs the script on a cluster whose working node is killed; returns what the driver printed."""
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(to_mapping(settings)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {"HOME": str(folder), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(config), str(folder), *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=170)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"it hangs\n{out}\n{err[-4000:]}") from None
    assert process.returncode == 0, out + err[-4000:]
    return out


def assert_same_state(folder: Path) -> None:
    """Weights and optimizer of the disturbed run are those of the undisturbed one, to the bit."""
    latest = [latest_valid_checkpoint(folder / name) for name in ("undisturbed", "killed")]
    undisturbed, killed = (read_checkpoint(path).state for path in latest if path is not None)
    assert (undisturbed.update, killed.update) == (UPDATES, UPDATES)
    for one, other in ((undisturbed.weights, killed.weights), (undisturbed.optimizer, killed.optimizer)):
        assert one.keys() == other.keys() and len(one) > 4
        assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []


@pytest.mark.usefixtures("local_ray")
def test_readers_on_a_killed_node_are_run_again_elsewhere(tmp_path: Path) -> None:
    """Not even the command notices: the blocks that are lost are read again, and the weights come out the same."""
    # Blocks of some 400 KB: Ray keeps those below 100 KB in the driver, where no node can take them along.
    ingest = IngestSettings(mode="streaming", window_rows=1_000, windows_per_pipeline=10, batches_per_block=8)
    settings = settings_for(write_points(tmp_path / "points", 64), ingest)
    out = run_and_kill(_SCRIPT, settings, tmp_path, "60")
    assert int(out.partition("lost ")[2].split()[0]) > 1_000_000
    assert "killed" in out and "ended by" not in out
    assert f"done {UPDATES} resumed from 0" in out
    pretrain(settings, run_name="undisturbed", storage=tmp_path)
    assert_same_state(tmp_path)


def test_a_learner_on_a_killed_node_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """The command ends with Ray's error; the same command again goes on at the last checkpoint, to the same weights."""
    settings = settings_for(write_points(tmp_path / "points", 2), IngestSettings(mode="resident"))
    out = run_and_kill(_SCRIPT, replace(settings, resources=ResourceSettings(num_learners=1)), tmp_path, "60")
    assert "killed" in out and "attempt 1 ended by" in out
    # The learner may do some more updates before its node is gone; a checkpoint is written every 40.
    resumed = re.search(rf"done {UPDATES} resumed from (\d+)", out)
    assert resumed is not None and int(resumed[1]) in range(40, UPDATES, 40), out
    # A learner inside the driver comes to the same weights as one on another node.
    pretrain(settings, run_name="undisturbed", storage=tmp_path)
    assert_same_state(tmp_path)


def test_a_trial_on_a_killed_node_goes_on_on_another(tmp_path: Path) -> None:
    """The sweep completes by itself: the trial is started again where there is room, from its checkpoint."""
    updates = 600
    settings = StudySettings(
        dataset=str(ROOT / "datasets" / "sample"),
        algorithm=AlgorithmSettings(
            model=ModelSettings(width=8, depth=1, head_width=8, head_depth=1, image_channels=(4, 4, 4)),
            optimization=OptimizationSettings(batch_size=4),
        ),
        ingest=IngestSettings(mode="resident"),
        training=TrainingSettings(updates=updates, updates_per_iteration=20, checkpoint_every=20),
        evaluation=EvaluationSettings(tasks=("instance_grasping",), episodes=1, max_steps=2),
        sweep=SweepSettings(search={"seed": {"grid_search": [3]}}, max_failures=1),
    )
    out = run_and_kill(_SWEEP_SCRIPT, settings, tmp_path)
    assert "killed at " in out, out
    assert 20 <= int(out.partition("killed at ")[2].split()[0]) < updates, out
    (result,) = json.loads(out.partition("results ")[2].splitlines()[0])
    assert (result["status"], result["update"], result["error"]) == ("completed", updates, None)
    assert len(result["evaluation"]["tasks"]["instance_grasping"]) == 1
    undisturbed = pretrain(replace(settings.run, seed=3), run_name="undisturbed", storage=tmp_path)
    states = [read_checkpoint(path).state for path in (undisturbed.checkpoint, result["checkpoint"])]
    assert states[0].update == states[1].update == updates
    assert [n for n, value in states[0].weights.items() if value.tobytes() != states[1].weights[n].tobytes()] == []
