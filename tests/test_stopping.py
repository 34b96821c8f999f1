"""Signals as requests: the first one asks, the second one acts as always."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from am_ray.stopping import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_acts(number: signal.Signals) -> None:
    asked: list[int] = []
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    seen: list[int] = []
    signal.signal(number, lambda n, frame: seen.append(n))
    try:
        with stop_on_signals(lambda: asked.append(1)) as request:
            assert request.signal is None
            os.kill(os.getpid(), number)
            assert (request.signal, asked, seen) == (number, [1], [])
            os.kill(os.getpid(), number)
            assert (asked, seen) == ([1], [number])
        os.kill(os.getpid(), number)
        assert seen == [number, number]
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)


def test_outside_the_main_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def work() -> None:
        with stop_on_signals(lambda: None) as request:
            inside.append((request.signal, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(None, before)]
