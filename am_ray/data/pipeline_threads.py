"""Waiting for Ray Data's threads to end: one that is still alive when Ray is shut down takes the process with it."""

from __future__ import annotations

import threading
import time

_NAMES = ("StreamingExecutor", "iter_threaded", "ray-data-metadata")


def join_pipeline_threads(*, timeout_s: float = 10.0) -> bool:
    """Waits until no thread of a closed pipeline is alive; False if one still is after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    for thread in threading.enumerate():
        if thread.name.startswith(_NAMES):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
    return True
