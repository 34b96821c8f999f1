"""Settings of the ingest: those of the draw change the batches, those of the machinery must not."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.data.ingest import open_ingest
from am_ray.data.plan import plan_windows
from am_ray.data.window_task import ReadWindow
from am_ray.settings import IngestSettings, RelabelSettings

BASE = {"mode": "streaming", "window_rows": 60, "reservoir_rows": 20, "batches_per_block": 2}


def actions_of(dataset: Path, **settings: Any) -> list[np.ndarray]:
    """The actions of the first blocks, drawn in this process."""
    ingest = IngestSettings(**{**BASE, **settings})
    shard = open_ingest(dataset, None, RelabelSettings(), ingest, batch_size=16, seed=7)[0].shard
    blocks = (
        block
        for plan in plan_windows(shard, ingest, 0)
        for block in ReadWindow(shard, (plan,), ingest.reservoir_rows, ingest.batches_per_block).blocks(plan)
    )
    return [block["action"] for block in itertools.islice(blocks, 4)]


@pytest.mark.parametrize("change", [{"window_rows": 1}, {"samples_per_transition": 3.0}, {"batches_per_block": 1}])
def test_settings_of_the_draw_change_the_blocks(dataset: Path, change: dict[str, Any]) -> None:
    plain = [block.tobytes() for block in actions_of(dataset)]
    assert plain == [block.tobytes() for block in actions_of(dataset)]
    assert plain != [block.tobytes() for block in actions_of(dataset, **change)]


@pytest.mark.parametrize("change", [{"num_workers": 7}, {"windows_per_pipeline": 3}, {"memory_budget_gb": 0.0}])
def test_settings_of_the_machinery_do_not(dataset: Path, change: dict[str, Any]) -> None:
    plain = [block.tobytes() for block in actions_of(dataset)]
    assert plain == [block.tobytes() for block in actions_of(dataset, **change)]
