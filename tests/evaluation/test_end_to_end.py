"""The real stack in a world that is not ours: Parquet, Ray Data (streaming), RLlib, checkpoint, evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

import am_ray
from am_ray.evaluation import evaluate
from am_ray.pretraining import pretrain
from am_ray.settings import (
    AlgorithmSettings,
    IngestSettings,
    ModelSettings,
    OptimizationSettings,
    PretrainSettings,
    TrainingSettings,
)
from tests.evaluation.test_learning import ID, wander


@pytest.mark.slow
def test_actionable_models_learn_from_a_stream(local_ray: None, tmp_path: Path) -> None:
    env = {"id": ID, "kwargs": {"form": "box", "success_key": "success"}}
    am_ray.write_dataset(tmp_path / "data", wander(300), fps=10.0, action_low=-1.0, action_high=1.0, env=env)
    settings = PretrainSettings(
        dataset=str(tmp_path / "data"),
        algorithm=AlgorithmSettings(
            model=ModelSettings(width=64, head_width=64),
            optimization=OptimizationSettings(learning_rate=2e-3, batch_size=128, acting_average_rate=0.02),
        ),
        ingest=IngestSettings(mode="streaming", window_rows=2_000, num_workers=1),
        training=TrainingSettings(updates=1_500, updates_per_iteration=500, checkpoint_every=1_500),
    )
    result = pretrain(settings, run_name="streamed", storage=tmp_path)
    assert result.ingest_mode == "streaming"
    report = evaluate(result.run_dir, episodes=20)
    assert report.tasks["default"].successes >= 14
    assert report.random is not None
    assert report.random["default"].successes <= 2
