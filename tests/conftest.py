"""Fixtures that several test folders share."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# RLlib and Ray warn about this default; the tests want the behaviour that is coming.
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

# Shapes and types in annotations are checked at every call, under pytest only.
install_import_hook(["am_ray.core"], "beartype.beartype")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small Ray instance for all tests of a session."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=200 * 1024**2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()
