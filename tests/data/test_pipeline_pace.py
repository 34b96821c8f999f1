"""The pipeline's thread rests while the learner has what it needs, and hurries when it waits."""

from __future__ import annotations

import threading
import time

from am_ray.data.pipeline_pace import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, PacedExecution, waiting


def step_s() -> float:
    began = time.perf_counter()
    PacedExecution().on_execution_step(None)
    return time.perf_counter() - began


def test_a_step_pauses_longest_while_nobody_waits():
    assert step_s() >= LONGEST_PAUSE_S * 0.9
    with waiting():
        assert SHORTEST_PAUSE_S * 0.9 <= min(step_s() for _ in range(5)) < LONGEST_PAUSE_S * 0.8
    assert step_s() >= LONGEST_PAUSE_S * 0.9


def test_a_consumer_that_begins_to_wait_ends_the_pause():
    done = threading.Event()

    def consume() -> None:
        with waiting():
            done.wait(1.0)

    shortest = LONGEST_PAUSE_S
    for _ in range(5):
        consumer = threading.Timer(SHORTEST_PAUSE_S, consume)
        consumer.start()
        shortest = min(shortest, step_s())
        done.set()
        consumer.join()
        done.clear()
    assert shortest < LONGEST_PAUSE_S * 0.8
