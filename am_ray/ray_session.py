"""Starting Ray for one command: the instance at hand, the cluster that RAY_ADDRESS names, or a small one of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ray_session(*, num_cpus: int | None = None) -> Iterator[None]:
    """Ray is running inside the block; an instance that was started for it is stopped after it.

    Args:
        num_cpus: CPUs of an instance of its own, at least; by default those of the machine.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    else:
        ray.init(
            address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, configure_logging=False
        )
    try:
        yield
    finally:
        ray.shutdown()
