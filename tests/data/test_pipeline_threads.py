from __future__ import annotations

import threading
import time

from am_ray.data.pipeline_threads import join_pipeline_threads


def test_it_waits_for_ray_datas_threads_alone() -> None:
    release = threading.Event()
    other = threading.Thread(target=release.wait, name="other")
    pipeline = threading.Thread(target=lambda: time.sleep(0.2), name="StreamingExecutor-dataset_1")
    other.start(), pipeline.start()
    assert join_pipeline_threads()
    assert not pipeline.is_alive()
    assert other.is_alive()
    stuck = threading.Thread(target=release.wait, name="iter_threaded")
    stuck.start()
    assert not join_pipeline_threads(timeout_s=0.05)
    release.set()
    other.join(), stuck.join()
