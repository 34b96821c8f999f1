"""The bare update, what is counted of it, and the scripts around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bare_update import BareUpdate, WorkCounter, algorithm_settings, total
from benchmarks.graphed_update import step_without_wait

SMALL = ["algorithm.optimization.batch_size=8", "algorithm.model.width=16", "algorithm.model.head_width=16"]
ROOT = Path(__file__).parents[2]


def small_update(*overrides: str) -> BareUpdate:
    return BareUpdate(algorithm_settings([*SMALL, *overrides]), image=False)


def test_settings_without_yaml() -> None:
    settings = algorithm_settings([*SMALL, "algorithm.critic.loss=squared_error"])
    assert (settings.optimization.batch_size, settings.critic.loss) == (8, "squared_error")


def test_work_agrees_with_torchs_own_counter() -> None:
    update = small_update()
    with WorkCounter(lambda: "all") as ours:
        update(0)
    theirs = FlopCounterMode(display=False)
    with theirs:
        update(1)
    assert sum(total(ours.work).flops.values()) == theirs.get_total_flops() > 0


def test_bytes_and_flops_by_hand() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 4)
    parts = iter(["product", "view", "sum"])
    with WorkCounter(lambda: next(parts)) as counter:
        c = a @ b
        d = c.view(8)
        d + 1.0
    assert counter.work["product"].flops == {torch.float32: 2 * 2 * 3 * 4}
    moved = {part: each.moved_bytes for part, each in counter.work.items()}
    assert moved == {"product": 4 * (6 + 12 + 8), "sum": 4 * (8 + 8)}  # a view moves nothing


def weights(update: BareUpdate) -> list[torch.Tensor]:
    return [value.clone() for value in update.model.state_dict().values()]


@pytest.mark.parametrize("clip", [0.0, 1e-3, 10.0])
def test_step_on_the_device_is_the_step(clip: float) -> None:
    """Clipped or not: the same weights and averages, to the last bit."""
    ours, theirs = (small_update(f"algorithm.optimization.max_gradient_norm={clip}") for _ in range(2))
    for number in range(3):
        ours.gradients(number)
        step_without_wait(ours)
        theirs(number)
    assert all(torch.equal(a, b) for a, b in zip(weights(ours), weights(theirs), strict=True))


def test_step_on_the_device_skips_what_is_not_finite() -> None:
    update = small_update()
    update(0)
    before = [p.detach().clone() for p in update.parameters]
    moments = [entry["exp_avg"].clone() for entry in update.optimizer.state.values()]
    update.gradients(1)
    update.parameters[0].grad[0] = torch.nan
    step_without_wait(update)
    assert all(torch.equal(a, b) for a, b in zip(before, update.parameters, strict=True))
    assert all(
        torch.equal(a, entry["exp_avg"]) for a, entry in zip(moments, update.optimizer.state.values(), strict=True)
    )
    assert {float(entry["step"]) for entry in update.optimizer.state.values()} == {1.0}


def run_blocked(module: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A script in a Python where nothing but torch and NumPy can be imported."""
    script = f"""
import sys
for name in ("ray", "pyarrow", "pybullet", "mlflow", "gymnasium", "yaml", "safetensors", "jaxtyping", "rich", "PIL",
             "psutil"):
    sys.modules[name] = None  # importing it raises
sys.argv = ["script", *{options!r}]
import runpy
runpy.run_module("benchmarks.{module}", run_name="__main__")
"""
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        timeout=100,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_gpu_update_needs_torch_alone(tmp_path: Path) -> None:
    """And says on a CPU that it is none; modes that cannot run are rows with a reason."""
    out = tmp_path / "rows.json"
    options = ["--device", "cpu", "--cases", "state_256", "--modes", "eager", "graph_whole", "--updates", "1"]
    done = run_blocked("gpu_update", *options, "--pieces", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "NO GPU" in done.stdout.splitlines()[0]
    eager, graph = json.loads(out.read_text())["rows"]
    assert eager["updates_per_s"] > 0.0
    assert (eager["differs"], eager["goal"], eager["idle"]) == (0.0, None, None)
    assert graph["updates_per_s"] is None
    assert "CUDA graphs need a GPU" in graph["reason"]
