from __future__ import annotations

import subprocess
import sys

import gymnasium
import pytest

import am_ray.envs
from am_ray.envs import ENV_ID, check_platform
from am_ray.types import EnvironmentContractError


@pytest.mark.parametrize("version", [(3, 10, 4), (3, 12, 0), (3, 13, 1)])
def test_another_python_is_refused_with_the_remedy(version: tuple[int, int, int]) -> None:
    with pytest.raises(EnvironmentContractError, match=rf"got Python 3\.{version[1]}; expected 3\.11.*make setup"):
        check_platform(version, has_pybullet=True)


def test_a_missing_pybullet_is_refused_with_the_remedy() -> None:
    with pytest.raises(EnvironmentContractError, match=r"pybullet is not installed.*pip install"):
        check_platform((3, 11, 9), has_pybullet=False)


def test_importing_the_package_loads_no_simulator_and_prints_nothing() -> None:
    code = "import sys, am_ray.envs; assert 'pybullet' not in sys.modules; am_ray.envs.Tray; import pybullet"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_environment_has_both_forms_of_its_id() -> None:
    assert ENV_ID in gymnasium.registry
    env = gymnasium.make(f"am_ray.envs:{ENV_ID}", arm="gantry", max_episode_steps=7)
    assert env.unwrapped.spec is not None
    assert env.unwrapped.spec.id == ENV_ID
    env.close()


def test_every_lazy_name_resolves() -> None:
    for name in am_ray.envs.__all__:
        assert getattr(am_ray.envs, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Trey'"):
        _ = am_ray.envs.Trey
