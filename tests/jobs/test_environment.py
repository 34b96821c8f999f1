"""What a job's nodes install: nothing, or the lock's packages that am-ray needs to run."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from am_ray.jobs import JobsError
from am_ray.jobs.environment import LOCK, runtime_environment, runtime_pins

ROOT = Path(__file__).parents[2]


def test_an_image_brings_its_own_packages(tmp_path: Path) -> None:
    environment = runtime_environment("image", tmp_path)
    assert environment.keys() == {"working_dir", "env_vars"}
    # Long enough for a checkpoint: Ray kills a stopped job after 3 s otherwise.
    assert int(environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"]) >= 30


def test_variables_hold_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-key")
    assert "secret-" not in str(runtime_environment("image", tmp_path))


def test_the_lock_is_reduced_to_what_runs() -> None:
    pins = runtime_pins(ROOT / LOCK)
    names = {pin.partition("==")[0].lower() for pin in pins}
    assert {"torch", "mlflow", "pyarrow", "pybullet", "numpy", "safetensors"} <= names
    # The cluster's Ray must stay; tools for development and the tests' servers are not needed.
    assert not names & {"ray", "am-ray", "pytest", "ruff", "mypy", "moto", "pre_commit", "setuptools", "cfn-lint"}
    assert f"torch=={importlib.metadata.version('torch').partition('+')[0]}" in pins
    # Far down the graph: mlflow -> sqlalchemy, torch -> sympy -> mpmath.
    assert {"sqlalchemy", "mpmath"} <= names


def test_a_lock_that_is_missing_or_old_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match=r"requirements\.lock: cannot be read.*--env image"):
        runtime_environment("lock", tmp_path)
    lines = (ROOT / LOCK).read_text().splitlines()
    (tmp_path / LOCK).write_text("\n".join(line for line in lines if not line.startswith("torch==")))
    with pytest.raises(JobsError, match=r"pins no torch, which am-ray needs.*make lock"):
        runtime_pins(tmp_path / LOCK)


def test_the_code_travels_where_the_working_directory_has_none(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text((ROOT / LOCK).read_text())
    environment = runtime_environment("lock", tmp_path)
    assert environment["py_modules"] == [str(ROOT / "am_ray")]
    assert "py_modules" not in runtime_environment("lock", ROOT)
