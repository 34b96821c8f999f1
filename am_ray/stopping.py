"""SIGINT and SIGTERM as a request to stop after the current step, so that a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """The first signal that arrived, or None."""

    signal: int | None = None


@contextmanager
def stop_on_signals(on_stop: Callable[[], None]) -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a call of ``on_stop``; a second one acts as if this did not exist.

    Outside the main thread Python cannot handle signals, and nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        request.signal = number
        restore()
        on_stop()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()
