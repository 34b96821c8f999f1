"""Keeps the thread that drives a Ray Data pipeline from spinning beside the learner."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.data._internal.execution.execution_callback import ExecutionCallback

SHORTEST_PAUSE_S = 0.01
LONGEST_PAUSE_S = 0.05

_consumer_waits = threading.Event()


@contextmanager
def waiting() -> Iterator[None]:
    """Around a consumer's wait for a block: meanwhile pipelines of this process go as fast as they can."""
    _consumer_waits.set()
    try:
        yield
    finally:
        _consumer_waits.clear()


class PacedExecution(ExecutionCallback):
    """Pauses between two steps of the executor's loop: longer while nobody waits for a block.

    The loop of Ray 2.60 does not wait while its buffers are full: it takes a whole core of the learner's process, and the
    interpreter's lock with it, which more than halved updates per second. At 10 ms a step it still took 9 % of a core.
    """

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(SHORTEST_PAUSE_S)
        _consumer_waits.wait(LONGEST_PAUSE_S - SHORTEST_PAUSE_S)
