"""``am-ray sweep``: plans, refusals, and the smallest real sweep."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import AmRay

ROOT = Path(__file__).parents[2]
CONFIG = """
training: {updates: 20}
evaluation: {episodes: 2}
sweep:
  search:
    algorithm.relabel.chaining_ratio: {grid_search: [0.0, 0.5]}
    seed: {grid_search: [0, 1]}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_plan_is_printed_and_nothing_starts(am_ray: AmRay, tmp_path: Path) -> None:
    path, sample = write(tmp_path, CONFIG), ROOT / "datasets" / "sample"
    options = ["--dataset", sample, "--storage", tmp_path / "runs", "--dry-run"]
    run = am_ray("sweep", path, *options)
    assert run.code == 0, run.stderr
    assert run.stdout.count("chaining_ratio=0.5,seed=") == 2
    assert "4 trials" in run.stdout
    assert "2 episodes each, at the end" in run.stdout
    plan = am_ray("sweep", path, *options, "--set", "resources.num_learners=2", "--json").json
    assert plan["trials"][0]["name"] == "chaining_ratio=0,seed=0"
    assert {trial["resources"]["CPU"] for trial in plan["trials"]} == {3.0}
    assert plan["evaluation"]["episodes"] == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("sweep: {serch: {}}\n", [], "unknown setting sweep.serch. Did you mean sweep.search?"),
        ("sweep:\n  search:\n    sede: {grid_search: [0]}\n", [], "unknown setting sede. Did you mean seed?"),
        ("sweep:\n  search:\n    seed: {grid_search: [0, -1]}\n", [], "trial seed=-1: PretrainSettings.seed: got -1"),
        ("seed: !!python/object/apply:os.system ['true']\n", [], "Settings are plain data"),
        ("sweep:\n  search: {}\n  search: {}\n", [], "the key 'search' stands twice"),
        ("sweep: {num_samples: 0}\n", [], "SweepSettings.num_samples: got 0"),
        ("sweep: {scheduler: {name: ahsa}}\n", [], "Did you mean asha?"),
        ("seed: 1\n", [], "sweep.search is empty"),
        (CONFIG, ["--set", "evaluation.episodes=0"], "EvaluationSettings.episodes: got 0"),
        (CONFIG, ["--resume", "must"], "no sweep to resume"),
    ],
)
def test_bad_files_are_refused_before_anything_starts(
    am_ray: AmRay, tmp_path: Path, text: str, options: list[str], message: str
) -> None:
    run = am_ray(
        "sweep", write(tmp_path, text), "--dataset", "d", "--storage", tmp_path / "runs", *options, "--no-tracking"
    )
    assert run.code == 2
    assert message in run.stderr
    assert not (tmp_path / "runs").exists()


def test_a_dataset_is_asked_for(am_ray: AmRay, tmp_path: Path) -> None:
    run = am_ray("sweep", write(tmp_path, CONFIG))
    assert run.code == 2
    assert "Add --dataset DIR" in run.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy's, about how MLflow calls it
def test_the_smoke_sweep_streams_whole(
    am_ray: AmRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    """Two CPUs, of which one trial at a time holds one, so that its readers have theirs."""
    shutil.copytree(ROOT / "datasets" / "sample", tmp_path / "datasets" / "sample")
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    run = am_ray("sweep", ROOT / "tune_configs" / "smoke.yaml")
    assert run.code == 0, run.stderr
    assert "2 trials to run, 1 at once" in run.stderr
    rows = [line for line in run.stdout.splitlines() if line.startswith("│")]
    assert [row.strip("│").split("│")[0].strip() for row in rows] == ["0", "0.5"]
    for trial in (tmp_path / "runs" / "smoke" / "trials").iterdir():
        assert "ingest: streaming; updates 0 to 40" in (trial / "trial.log").read_text()
        assert (trial / "checkpoint-000000040").is_dir()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("am-ray")
    assert experiment is not None
    runs = {found.info.run_name: found for found in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("smoke")
    assert sorted(found.data.tags["chaining_ratio"] for found in runs.values()) == ["0", "0.5"]
    for found in runs.values():
        assert (found.data.tags["mlflow.parentRunId"], found.info.status) == (parent.info.run_id, "FINISHED")
        curve = client.get_metric_history(found.info.run_id, "critic/td_loss")
        assert curve and curve[-1].step == 40
        assert found.data.metrics["eval/success_rate"] >= 0.0
    again = am_ray("sweep", ROOT / "tune_configs" / "smoke.yaml", "--no-tracking", "--json").json
    assert [trial["status"] for trial in again["trials"]] == ["completed", "completed"]
    assert again["stopped_by"] is None
