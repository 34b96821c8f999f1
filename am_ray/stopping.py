"""SIGINT and SIGTERM as a request to stop after the current step, so that a checkpoint can be written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """A request to stop: made once, seen by everybody who looks or listens.

    Attributes:
        signal: Number of the first signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._listeners: list[Callable[[], None]] = []

    def request(self, number: int = signal.SIGINT) -> None:
        """Asks to stop, as that signal would; a second request changes nothing."""
        if self.signal is None:
            self.signal = number
            for listener in self._listeners:
                listener()

    def listen(self, on_stop: Callable[[], None]) -> None:
        """Calls ``on_stop`` when the request is made, or at once if it has been."""
        self._listeners.append(on_stop)
        if self.signal is not None:
            on_stop()


@contextmanager
def stop_on_signals(on_stop: Callable[[], None], request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a call of ``on_stop``; a second one acts as if this did not exist.

    Outside the main thread Python cannot handle signals, and only ``request`` stops.

    Args:
        on_stop: Called in a signal handler.
        request: What the signal sets; a new one by default. Whoever else holds it can stop too.
    """
    request = request or StopRequest()
    request.listen(on_stop)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        restore()
        request.request(number)

    for number in previous:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()
