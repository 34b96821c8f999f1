"""Settings of the ingest: those of the draw change the batches, those of the machinery must not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from am_ray.data.ingest import open_ingest
from am_ray.data.plan import plan_windows
from am_ray.data.window_task import ReadWindow
from am_ray.data.writer import write_dataset
from am_ray.settings import IngestSettings, RelabelSettings
from am_ray.types import GoalSource, SettingsError, Trajectory

BASE = {"mode": "streaming", "window_rows": 60, "reservoir_rows": 20, "batches_per_block": 2}


def actions_of(dataset: Path, **settings: Any) -> list[np.ndarray]:
    """The actions of the first blocks, drawn in this process."""
    return [block["action"] for block in blocks_of(dataset, RelabelSettings(), **settings)]


def blocks_of(dataset: Path, relabeling: RelabelSettings, **settings: Any) -> list[dict[str, np.ndarray]]:
    ingest = IngestSettings(**{**BASE, **settings})
    shard = open_ingest(dataset, None, relabeling, ingest, batch_size=16, seed=7)[0].shard
    blocks = (
        block
        for plan in plan_windows(shard, ingest, 0)
        for block in ReadWindow(shard, (plan,), ingest.reservoir_rows, ingest.batches_per_block).blocks(plan)
    )
    return list(itertools.islice(blocks, 4))


@pytest.mark.parametrize("change", [{"window_rows": 1}, {"samples_per_transition": 3.0}, {"batches_per_block": 1}])
def test_settings_of_the_draw_change_the_blocks(dataset: Path, change: dict[str, Any]) -> None:
    plain = [block.tobytes() for block in actions_of(dataset)]
    assert plain == [block.tobytes() for block in actions_of(dataset)]
    assert plain != [block.tobytes() for block in actions_of(dataset, **change)]


@pytest.mark.parametrize("change", [{"num_workers": 7}, {"windows_per_pipeline": 3}, {"memory_budget_gb": 0.0}])
def test_settings_of_the_machinery_do_not(dataset: Path, change: dict[str, Any]) -> None:
    plain = [block.tobytes() for block in actions_of(dataset)]
    assert plain == [block.tobytes() for block in actions_of(dataset, **change)]


@pytest.mark.parametrize("mode", ["streaming", "resident"])
def test_settings_of_links_change_the_goals(dataset: Path, mode: str) -> None:
    def column(name: str, **settings: Any) -> np.ndarray:
        relabeling = RelabelSettings(chaining_ratio=0.5, chaining_window=3, **settings)
        if mode == "streaming":
            return np.concatenate([block[name] for block in blocks_of(dataset, relabeling)])
        (shard,) = open_ingest(dataset, None, relabeling, IngestSettings(mode="resident"), batch_size=64, seed=7)
        return np.concatenate([batch[name] for batch in itertools.islice(shard.batches(), 4)])

    def sources(**settings: Any) -> np.ndarray:
        return column("source", **settings)

    random, linked, nearer = (
        sources(),
        sources(chaining_neighbors=2, chaining_distance=99.0),
        sources(chaining_neighbors=2, chaining_distance=0.5),
    )
    assert set(random.tolist()) == {GoalSource.HINDSIGHT, GoalSource.RANDOM}
    assert set(linked.tolist()) == {GoalSource.HINDSIGHT, GoalSource.LINKED}
    assert np.mean(linked == GoalSource.LINKED) == pytest.approx(0.5, abs=0.15)
    assert np.mean(nearer == GoalSource.LINKED) < np.mean(linked == GoalSource.LINKED)
    assert (sources(chaining_neighbors=2, chaining_distance=1e-9) == GoalSource.HINDSIGHT).all()
    over_entries = sources(chaining_neighbors=2, chaining_distance=0.5, chaining_entries=(0,))
    assert np.mean(nearer == GoalSource.LINKED) != np.mean(over_entries == GoalSource.LINKED)
    steps, shorter = (
        column("num_steps", chaining_neighbors=2, chaining_distance=99.0, junction_share=share)[
            linked == GoalSource.LINKED
        ]
        for share in (0.0, 1.0)
    )
    assert shorter.mean() < steps.mean()  # of one piece, not of two


def test_likeness_of_images_is_not_measured(make_trajectories: Callable[..., list[Trajectory]], tmp_path: Path) -> None:
    write_dataset(tmp_path / "images", make_trajectories(4, cameras={"front": (8, 8, 3)}))
    with pytest.raises(SettingsError, match=r"chaining_neighbors: got 2 for data with the images .*Set it to 0"):
        open_ingest(
            tmp_path / "images",
            None,
            RelabelSettings(chaining_neighbors=2, chaining_window=1),
            IngestSettings(),
            batch_size=4,
            seed=0,
        )


def test_entries_that_a_state_does_not_have_are_refused(dataset: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"relabel.chaining_entries: got \[-1, 99\] for states of \d+ entries; expected 0 to"
    ):
        open_ingest(
            dataset,
            None,
            RelabelSettings(chaining_neighbors=2, chaining_window=1, chaining_entries=(0, -1, 99)),
            IngestSettings(),
            batch_size=4,
            seed=0,
        )


def test_links_need_a_window() -> None:
    with pytest.raises(SettingsError, match=r"chaining_neighbors: got 2 with chaining_window 0; .*Set chaining_window"):
        RelabelSettings(chaining_neighbors=2)
    with pytest.raises(
        SettingsError, match=r"junction_share: got 0\.2 with chaining_neighbors 0; .*Set chaining_neighbors"
    ):
        RelabelSettings(junction_share=0.2)
