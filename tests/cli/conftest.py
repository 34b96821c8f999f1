"""Running the command line inside the test process, and leaving no trace of it."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray import Trajectory, write_dataset
from am_ray.cli.main import main


@dataclass(frozen=True)
class Run:
    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


AmRay = Callable[..., Run]


@pytest.fixture
def am_ray(capfd: pytest.CaptureFixture[str]) -> Iterator[AmRay]:
    """``am_ray("dataset", "info", path)`` -> exit status and streams."""
    root, ray = logging.getLogger(), logging.getLogger("ray")
    handlers, levels, handler = list(root.handlers), (root.level, ray.level), signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Run:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Run(code, out, err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ray.setLevel(levels[1])
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Eight short episodes of a point that moves, with a camera."""
    rng = np.random.default_rng(0)
    trajectories = []
    for _ in range(8):
        actions = rng.uniform(-1, 1, size=(6, 2)).astype(np.float32)
        state = np.concatenate([np.zeros((1, 2)), np.cumsum(actions, axis=0)]).astype(np.float32)
        front = rng.integers(0, 255, size=(7, 16, 16, 3), dtype=np.uint8)
        trajectories.append(Trajectory({"state": state, "front": front}, actions))
    write_dataset(tmp_path / "data", trajectories, action_low=-1.0, action_high=1.0, goal_features=["state"])
    return tmp_path / "data"
