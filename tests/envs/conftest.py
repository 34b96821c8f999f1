from __future__ import annotations

from collections.abc import Iterator

import pytest

from am_ray.envs.goal_env import TrayEnv
from am_ray.envs.tray import Tray


@pytest.fixture(scope="session")
def tray() -> Iterator[Tray]:
    """One gantry client for every test that resets it first."""
    tray = Tray(arm="gantry")
    yield tray
    tray.close()


@pytest.fixture(scope="session")
def env() -> Iterator[TrayEnv]:
    env = TrayEnv(arm="gantry")
    yield env
    env.close()
